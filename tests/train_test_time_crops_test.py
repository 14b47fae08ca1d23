"""Answers to the views of a clip: crops and mirror images."""

import keras
import numpy as np
import pytest

from train.flags import config as config_lib
from train.test_time_crops import Crops, MultiCropPredictor, crops_of


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_predictor_has_all_crops(channels, mirrored, corners):
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
    predictor = MultiCropPredictor(model, Crops(corners, mirrored))
    assert len(predictor.crops) == len(expected)
    np.testing.assert_allclose(
        predictor.function(clips), np.stack(expected, axis=1), atol=1e-5
    )


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({}, Crops(True, True)),
        ({"flip": 0.0}, Crops(True, False)),
        ({"crop": False}, Crops(False, True)),
        ({"test_crops": "flip"}, Crops(False, True)),
        ({"test_crops": "flip", "flip": 0.0}, Crops()),
        ({"test_crops": "center"}, Crops()),
    ],
)
def test_networks_see_no_views_that_training_did_not_show(flags, expected):
    assert crops_of(config_lib.Augmentation(**flags)) == expected
