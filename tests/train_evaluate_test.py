"""Answers to a clip and to its mirror image."""

import keras
import numpy as np
import pytest

from train import config as config_lib
from train.evaluate import Answer, sees_mirrored


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_mirrored_answer_has_two_views(channels):
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 5, channels))
    clips = clips.astype("float32")
    inputs = keras.Input(clips.shape[1:])
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    weights, bias = map(np.float64, model.get_weights())
    mirrored = np.flip(clips, axis=3).copy()
    if channels == 2:
        mirrored[..., 0] *= -1
    views = [view.reshape(2, -1) @ weights + bias for view in (clips, mirrored)]
    assert np.abs(views[0] - views[1]).max() > 0.1
    for mirrored in (False, True):
        answer = Answer(model, mirrored)
        assert answer.num_views == 1 + mirrored
        expected = np.stack(views[: answer.num_views], axis=1)
        np.testing.assert_allclose(answer.function(clips), expected, atol=1e-5)


@pytest.mark.parametrize(
    "flip, test_flip, expected",
    [(0.5, True, True), (0.0, True, False), (0.5, False, False)],
)
def test_classes_with_a_side_are_never_mirrored(flip, test_flip, expected):
    options = config_lib.Augmentation(flip=flip, test_flip=test_flip)
    assert sees_mirrored(options) == expected
