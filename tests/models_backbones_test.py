"""Every backbone by its name: shapes, default layers, files that need Keras alone."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kd_keras.models import build_backbone, default_feature_layer
from kd_keras.models.backbones import BACKBONES, load_backbone_weights
from tests.published_i3d import run

FRAMES, SIZE = 9, 32

_LOAD = """
import sys
import keras
import numpy as np
values = np.load(sys.argv[1] + "/values.npz")
for name in values:
    if name == "clip":
        continue
    model = keras.saving.load_model(f"{sys.argv[1]}/{name}.keras")
    # As in `run`: op by op, JAX would compile each of them.
    jax = keras.backend.backend() == "jax"
    found = (model.predict_on_batch if jax else model)(values["clip"])
    found = keras.ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, values[name], atol=1e-5, err_msg=name)
assert not [module for module in sys.modules if module.startswith("kd_keras")]
"""


@pytest.fixture(scope="module")
def networks():
    return {name: _build(name) for name in BACKBONES}


def _build(name, **arguments):
    return build_backbone(
        name,
        5,
        FRAMES,
        SIZE,
        width=0.1,
        segments=4,
        attribute_weights=None,
        attribute_width=0.05,
        **arguments,
    )


@pytest.mark.parametrize("name", BACKBONES)
def test_takes_clips_and_gives_logits_and_a_map(networks, name):
    model = networks[name]
    assert model.name == name
    assert model.input.shape == (None, FRAMES, SIZE, SIZE, 3)
    assert model.output.shape == (None, 5)
    assert model.input.dtype == model.output.dtype == "float32"
    layer = model.get_layer(default_feature_layer(name))
    assert isinstance(layer, keras.layers.ReLU | keras.layers.Concatenate)
    batch, time, _, _, _ = layer.output.shape
    assert batch is None
    if name.startswith(("tsn", "tsm")):
        assert time == 4
    assert not any(w.trainable for w in model.weights if "attributes/" in w.path)


def test_files_load_where_there_is_keras_alone(networks, tmp_path):
    clip = np.random.default_rng(0).uniform(-1, 1, (2, FRAMES, SIZE, SIZE, 3))
    values = {"clip": clip.astype("f4")}
    # Together they hold every operation that the others are made of.
    for name in ("tsm_small", "r2plus1d_attributes"):
        model = networks[name]
        model.save(tmp_path / f"{name}.keras")
        values[name] = run(model, values["clip"])
        assert np.isfinite(values[name]).all() and values[name].std() > 0
    np.savez(tmp_path / "values.npz", **values)
    done = subprocess.run(
        [sys.executable, "-P", "-c", _LOAD, str(tmp_path)],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["i3d", "tsm_small"])
def test_weights_come_from_files(networks, name, tmp_path):
    path = str(tmp_path / "stored.weights.h5")
    networks[name].save_weights(path)
    model = _build(name)
    load_backbone_weights(model, path)
    for found, stored in zip(model.weights, networks[name].weights, strict=True):
        np.testing.assert_array_equal(found, stored)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="no backbone 'vgg'. Choose one of i3d, tsn"):
        _build("vgg")
    with pytest.raises(ValueError, match="attributes are of RGB frames. Got 2"):
        _build("r2plus1d_attributes", channels=2)
    with pytest.raises(ValueError, match="no backbone 'functional"):
        load_backbone_weights(keras.Sequential([], name="functional"), "x.keras")
