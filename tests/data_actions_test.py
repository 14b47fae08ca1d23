"""Actions as pairs of verb and noun."""

import numpy as np
import pytest

from kd_keras.data.actions import Actions, action_name

CLASSES = ("open door", "open tap", "wash tap", "wash put-down")


def test_marginals_are_sums_over_the_actions_of_a_verb_or_noun():
    actions = Actions(CLASSES)
    assert actions.verbs == ("open", "wash")
    assert actions.nouns == ("door", "tap", "put-down")
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 3)
    verbs, nouns = actions.marginals(probabilities)
    for names, place, sums in ((actions.verbs, 0, verbs), (actions.nouns, 1, nouns)):
        for column, name in enumerate(names):
            own = [c for c, text in enumerate(CLASSES) if text.split()[place] == name]
            expected = sum(probabilities[:, c] for c in own)
            np.testing.assert_allclose(sums[:, column], expected, rtol=1e-6)
        np.testing.assert_allclose(sums.sum(1), 1, rtol=1e-6)


def test_what_is_no_action_is_refused():
    assert action_name("put-down", "pan:frying") == "put-down pan:frying"
    with pytest.raises(ValueError, match="must be one word. Got 'frying pan'"):
        action_name("put", "frying pan")
    with pytest.raises(ValueError, match="a blank and a noun. Got 'open'"):
        Actions(["open door", "open"])
