"""R(2+1)D against NumPy, with and without visual attributes."""

import keras
import numpy as np
import pytest

from kd_keras.models import R2Plus1D, r2plus1d
from kd_keras.models.r2plus1d import visual_attributes
from tests import residual_networks
from tests.published_i3d import run

MEAN, DEVIATION = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)

# Time, height, width, channels of the maps of a 16x112x112 clip.
SHAPES = {
    "stem": (16, 56, 56, 64),
    "layer1_1": (16, 56, 56, 64),
    "layer2_1": (8, 28, 28, 128),
    "layer3_1": (4, 14, 14, 256),
    "layer4_1": (2, 7, 7, 512),
}


def _clip(*shape, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("f4")


def _with_attributes(**arguments):
    attributes = visual_attributes(4, 32, None, num_attributes=6, width=0.05)
    return R2Plus1D(5, 4, 32, width=0.05, attributes=attributes, **arguments)


def test_has_the_published_weights_and_maps():
    model = R2Plus1D(400, 16, 112)
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trainable == 31_505_325
    for name, shape in SHAPES.items():
        assert model.get_layer(name).output.shape[1:] == shape
    assert [n for n in r2plus1d.ENDPOINTS if n in SHAPES] == [*SHAPES]


@pytest.mark.parametrize("shape", [(2, 9, 33, 40, 3), (1, 4, 16, 17, 2)])
def test_endpoints_are_those_of_numpy(shape):
    model = R2Plus1D(5, channels=shape[-1], width=1 / 16)
    values = residual_networks.randomize(model)
    names = r2plus1d.ENDPOINTS
    every = keras.Model(
        model.input, {name: model.get_layer(name).output for name in names}
    )
    clip = _clip(*shape)
    seen = ((clip + 1) / 2 - MEAN) / DEVIATION if shape[-1] == 3 else clip
    expected = residual_networks.r2plus1d(values, seen)
    kernel, bias = values["Logits"]
    expected["Logits"] = expected.pop("pooled") @ kernel + bias
    found = run(every, clip)
    assert {*found} == {*expected}
    for name, value in found.items():
        scale = np.abs(expected[name]).max()
        assert 0.1 < scale < 1000
        np.testing.assert_allclose(
            value / scale, expected[name] / scale, atol=2e-5, err_msg=name
        )


def test_a_fixed_size_changes_nothing():
    fixed, free = R2Plus1D(3, 5, (24, 40), width=0.05), R2Plus1D(3, width=0.05)
    free.set_weights(fixed.get_weights())
    clip = _clip(2, 5, 24, 40, 3)
    np.testing.assert_allclose(run(fixed, clip), run(free, clip), atol=1e-5)


def test_attributes_are_mean_class_scores_beside_the_features():
    model = _with_attributes()
    values = residual_networks.randomize(model)
    attributes = model.get_layer("attributes")
    frames = residual_networks.randomize(attributes)
    clip = _clip(2, 4, 32, 32, 3)
    scores = 0
    prepared = keras.applications.resnet.preprocess_input((clip + 1) * 127.5)
    for frame in range(4):
        logits = residual_networks.resnet(
            frames, prepared[:, frame : frame + 1], (3, 4, 6, 3), True, True
        )["Logits"]
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores = scores + exponents / exponents.sum(axis=1, keepdims=True) / 4
    pooled = residual_networks.r2plus1d(values, ((clip + 1) / 2 - MEAN) / DEVIATION)
    kernel, bias = values["Logits"]
    expected = np.concatenate([pooled["pooled"], scores], axis=1) @ kernel + bias
    assert scores.std() > 0.01
    np.testing.assert_allclose(run(model, clip), expected, atol=1e-4)


def test_attributes_stay_as_they_are(tmp_path):
    built = _with_attributes()
    trained = len(built.trainable_weights)
    assert trained == len(R2Plus1D(5, width=0.05).trainable_weights)
    built.save(tmp_path / "student.keras")
    model = keras.saving.load_model(tmp_path / "student.keras")
    assert len(model.trainable_weights) == trained
    attributes, stem = model.get_layer("attributes"), model.get_layer("stem_1")
    before, statistics = attributes.get_weights(), stem.get_weights()[2]
    model(_clip(3, 4, 32, 32, 3), training=True)
    assert not np.array_equal(statistics, stem.get_weights()[2])
    for old, new in zip(before, attributes.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1"),
        ({"channels": 4}, "channels must be 3"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
)
def test_refuses_what_cannot_be_built(arguments, message):
    with pytest.raises(ValueError, match=message):
        R2Plus1D(3, **arguments)
