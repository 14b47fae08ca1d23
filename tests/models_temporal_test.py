"""The temporal network: its head against NumPy."""

import itertools

import keras
import numpy as np
import pytest

import kd_keras


@pytest.mark.parametrize(
    ("time", "bounds"),
    [(16, (0, 4, 8, 12, 16)), (10, (0, 2, 5, 7, 10)), (2, (0, 1, 2))],
)
def test_the_head_sees_the_quarters_of_a_clip_apart(time, bounds):
    keras.utils.set_random_seed(0)
    model = kd_keras.TemporalConvolutions(3, time, (2, 1), channels=5, width=0.02)
    clips = np.random.default_rng(0).normal(size=(4, time, 2, 1, 5)).astype("float32")
    last = keras.Model(model.input, model.get_layer("temporal_3").output)
    maps = last.predict(clips, verbose=0).astype("float64")
    means = [
        maps[:, first:end].mean((1, 2, 3)) for first, end in itertools.pairwise(bounds)
    ]
    kernel, bias = model.get_layer("Logits").get_weights()
    expected = np.concatenate(means, axis=-1) @ kernel.astype("float64") + bias
    logits = model.predict(clips, verbose=0)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_saved_network_says_the_same(tmp_path):
    model = kd_keras.TemporalConvolutions(3, 7, channels=5, width=0.02)
    clips = np.random.default_rng(0).normal(size=(2, 7, 1, 1, 5)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    logits = [each.predict(clips, verbose=0) for each in (loaded, model)]
    np.testing.assert_array_equal(*logits)
