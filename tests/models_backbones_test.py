"""Every backbone by its name: shapes, default layers, files that need Keras alone."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kd_keras.models import build_backbone, default_feature_layer
from kd_keras.models.backbones import BACKBONES, load_backbone_weights, tokens_of
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
    layer = model.get_layer(default_feature_layer(model))
    assert isinstance(layer, keras.layers.ReLU | keras.layers.Concatenate)
    batch, time, _, _, _ = layer.output.shape
    assert batch is None
    if name.startswith(("tsn", "tsm")):
        assert time == 4
    assert not any(w.trainable for w in model.weights if "attributes/" in w.path)


@pytest.mark.parametrize(
    ("name", "num_frames", "image_size", "expected", "tokens"),
    [
        ("i3d", 64, 224, "Mixed_5c", 8 * 7 * 7),
        ("i3d", 16, 112, "Mixed_5c", 2 * 4 * 4),
        ("i3d", 12, 48, "Mixed_4f", 3 * 3 * 3),
        ("i3d", 9, 32, "Mixed_3c", 5 * 4 * 4),
        ("i3d", None, None, "Mixed_5c", None),
        ("tsn", 16, 112, "conv5_block3_out", 8 * 4 * 4),
        ("tsn", 16, 48, "conv5_block3_out", 8 * 2 * 2),
        ("tsn_small", 16, 16, "conv4_block1_out", 8 * 2 * 2),
        ("tsm_lite", 16, 112, "top_activation", 8 * 4 * 4),
        ("tsn_lite", 16, 24, "block6a_expand_activation", 8 * 2 * 2),
        ("r2plus1d", 16, 112, "layer4_1", 2 * 7 * 7),
        ("r2plus1d", 8, 64, "layer3_1", 2 * 8 * 8),
    ],
)
def test_the_deepest_map_of_enough_tokens_is_compared(
    name, num_frames, image_size, expected, tokens
):
    model = build_backbone(name, 5, num_frames, image_size, width=0.05)
    layer = default_feature_layer(model)
    assert (layer, tokens_of(model, layer)) == (expected, tokens)


def test_only_maps_behind_a_layer_are_compared():
    model = build_backbone("i3d", 5, 9, 32, width=0.05)
    # 3 x 2 x 2 and 2 x 1 x 1: none has enough.
    assert default_feature_layer(model, behind="MaxPool3d_4a_3x3") == "Mixed_4f"
    assert default_feature_layer(model, behind="Mixed_4f") == "Mixed_5c"
    with pytest.raises(ValueError, match="no map to compare behind Mixed_5c. Choose"):
        default_feature_layer(model, behind="Mixed_5c")


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


@pytest.mark.parametrize("name", ["i3d", "tsm_small", "r2plus1d", "temporal"])
def test_numpy_counts_are_taken_as_those_of_python(name, tmp_path):
    counts = (5, FRAMES, 4)
    python, numpy = (
        build_backbone(name, *each, width=0.1, segments=4)
        for each in (counts, np.array(counts))
    )
    numpy.save(tmp_path / "numpy.keras")
    loaded = keras.saving.load_model(tmp_path / "numpy.keras")
    shapes = [[w.shape for w in model.weights] for model in (loaded, python)]
    assert shapes[0] == shapes[1]


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="no backbone 'vgg'. Choose one of i3d, tsn"):
        _build("vgg")
    with pytest.raises(ValueError, match="attributes are of RGB frames. Got 2"):
        _build("r2plus1d_attributes", channels=2)
    with pytest.raises(ValueError, match="no backbone 'functional"):
        load_backbone_weights(keras.Sequential([], name="functional"), "x.keras")
