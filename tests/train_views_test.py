"""Answers to the views of a clip: crops and mirror images."""

import keras
import numpy as np
import pytest

from train.flags import config as config_lib
from train.views import Answer, Views, views_of


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_an_answer_has_all_views(channels, mirrored, corners):
    shape = (2, *([5] if corners else []), 3, 4, 5, channels)
    clips = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    inputs = keras.Input(clips.shape[-4:])
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    weights, bias = map(np.float64, model.get_weights())
    expected = []
    for crop in np.moveaxis(clips, 1, 0) if corners else [clips]:
        turned = np.flip(crop, axis=3).copy()
        if channels == 2:
            turned[..., 0] *= -1
        for image in [crop, turned] if mirrored else [crop]:
            expected.append(image.reshape(2, -1) @ weights + bias)
    answer = Answer(model, Views(corners, mirrored))
    assert len(answer.views) == len(expected)
    np.testing.assert_allclose(
        answer.function(clips), np.stack(expected, axis=1), atol=1e-5
    )


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({}, Views(True, True)),
        ({"flip": 0.0}, Views(True, False)),
        ({"crop": False}, Views(False, True)),
        ({"test_views": "mirrored"}, Views(False, True)),
        ({"test_views": "mirrored", "flip": 0.0}, Views()),
        ({"test_views": "one"}, Views()),
    ],
)
def test_networks_see_no_views_that_training_did_not_show(flags, expected):
    assert views_of(config_lib.Augmentation(**flags)) == expected
