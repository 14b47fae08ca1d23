"""The challenge's files, against sums by hand."""

import numpy as np

from train.challenge import ChallengeFile, SupervisionLevels

VERBS, NOUNS = ("take", "put", "cut"), tuple(f"n{number}" for number in range(60))
CLASSES = tuple(f"{verb} {noun}" for verb in ("cut", "take") for noun in NOUNS[:55])


def test_a_file_scores_all_verbs_all_nouns_and_the_best_hundred_actions():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(len(CLASSES)), 2)
    file = ChallengeFile(CLASSES, VERBS, NOUNS, "0.2", SupervisionLevels(2))
    content = file.content(["P01_101_0", "P01_101_1"], probabilities, ["P02_1_0"])
    results = content.pop("results")
    assert content == {
        "version": "0.2",
        "challenge": "action_anticipation",
        "sls_pt": 2,
        "sls_tl": 4,
        "sls_td": 3,
    }
    assert [*results] == ["P01_101_0", "P01_101_1", "P02_1_0"]
    for own, scores in zip(probabilities, results.values(), strict=False):
        assert [*scores["verb"]] == ["0", "1", "2"]
        assert scores["verb"]["1"] == 0
        np.testing.assert_allclose(scores["verb"]["2"], own[:55].sum(), rtol=1e-5)
        assert len(scores["noun"]) == 60
        assert scores["noun"]["59"] == 0
        np.testing.assert_allclose(scores["noun"]["7"], own[7] + own[62], rtol=1e-5)
        assert len(scores["action"]) == 100
        lowest = min(scores["action"].values())
        assert sum(own > lowest * 1.0001) <= 100
        assert list(scores["action"].values()) == sorted(
            scores["action"].values(), reverse=True
        )
        best = own.argmax()
        name = f"{2 if best < 55 else 0},{best % 55}"
        assert next(iter(scores["action"])) == name
    assert set(results["P02_1_0"]["verb"].values()) == {0.0}
    assert len(results["P02_1_0"]["action"]) == 100
