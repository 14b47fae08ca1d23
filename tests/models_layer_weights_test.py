"""Weights by layer: Keras files, Keras Applications, PyTorch; all of them or none."""

import keras
import numpy as np
import pytest

from kd_keras.models import (
    TSN,
    R2Plus1D,
    TemporalConvolutions,
    load_backbone_weights,
)
from kd_keras.models.layer_weights import load_layer_weights
from tests import residual_networks


def _small(num_classes=3, channels=3, **arguments):
    return TSN(
        num_classes,
        2,
        16,
        channels,
        width=0.25,
        segments=2,
        network="small",
        **arguments,
    )


def _values(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def _assert_same(one, other, but=()):
    assert one.keys() == other.keys()
    for name in one.keys() - set(but):
        for a, b in zip(one[name], other[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("name", ["stored.keras", "stored.weights.h5"])
def test_reads_keras_files(name, tmp_path):
    stored, path = _small(), tmp_path / name
    expected = residual_networks.randomize(stored)
    (stored.save if name.endswith(".keras") else stored.save_weights)(path)
    model = _small(weights=path)
    _assert_same(_values(model), expected)
    # Another classifier keeps its own.
    model = _small(num_classes=7)
    head = _values(model)["Logits_segments"]
    load_layer_weights(model, path, include_head=False)
    _assert_same(_values(model), expected, but=["Logits_segments"])
    np.testing.assert_array_equal(_values(model)["Logits_segments"][0], head[0])


def test_a_first_convolution_on_rgb_is_averaged_for_flow(tmp_path):
    stored = _small()
    kernel, *_ = residual_networks.randomize(stored)["conv1_conv"]
    stored.save_weights(tmp_path / "rgb.weights.h5")
    flow = _small(channels=2, weights=tmp_path / "rgb.weights.h5")
    found, *_ = flow.get_layer("conv1_conv").get_weights()
    for channel in range(2):
        np.testing.assert_allclose(found[:, :, channel], kernel.mean(axis=2), rtol=1e-5)
    _assert_same(_values(flow), _values(stored), but=["conv1_conv"])


def test_imagenet_weights_are_those_of_keras_applications(monkeypatch):
    published = keras.applications.ResNet50(weights=None)
    expected = {
        layer.name.replace("predictions", "Logits_segments"): layer.get_weights()
        for layer in published.layers
        if layer.weights
    }
    asked = []

    def resnet50(weights, include_top):
        asked.append((weights, include_top))
        return published

    monkeypatch.setattr(keras.applications, "ResNet50", resnet50)
    model = TSN(1000, 2, 32, segments=2)
    head = _values(model)["Logits_segments"]
    load_backbone_weights(model, "imagenet", include_head=False)
    _assert_same(_values(model), expected, but=["Logits_segments"])
    np.testing.assert_array_equal(_values(model)["Logits_segments"][0], head[0])
    load_backbone_weights(model, "imagenet")
    _assert_same(_values(model), expected)
    assert asked == [("imagenet", False), ("imagenet", True)]


def test_networks_without_imagenet_weights_download_none(monkeypatch):
    monkeypatch.delattr(keras.applications, "ResNet50")
    for model in (_small(), R2Plus1D(4, width=0.03), TemporalConvolutions(4, 9)):
        with pytest.raises(ValueError, match=f"no ImageNet weights of {model.name}, "):
            load_backbone_weights(model, "imagenet", include_head=False)


def test_reads_the_state_of_a_pytorch_model(tmp_path):
    torch = pytest.importorskip("torch")
    stored = R2Plus1D(4, width=0.03)
    expected = residual_networks.randomize(stored)
    state = {}
    for name, arrays in expected.items():
        name = "fc" if name == "Logits" else name.replace("_", ".")
        names = ("weight", "bias", "running_mean", "running_var")
        for variable, array in zip(names, arrays, strict=False):
            if array.ndim > 1:
                array = np.moveaxis(array, (-1, -2), (0, 1)).astype("f4")
            state[f"{name}.{variable}"] = torch.tensor(array)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1)
    torch.save(state, tmp_path / "state.pth")
    model = R2Plus1D(4, width=0.03, weights=tmp_path / "state.pth")
    for name, arrays in _values(model).items():
        for found, array in zip(arrays, expected[name], strict=True):
            np.testing.assert_allclose(found, array, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.keras", r"Cannot read 'gone\.keras'.*Expected a Keras \.keras"),
        ("gone.h5", r"'gone\.h5' does not exist"),
        ("somewhere", r"No weights at 'somewhere'. Expected a Keras"),
    ],
)
def test_says_which_sources_there_are(source, message):
    with pytest.raises(ValueError, match=message):
        load_layer_weights(_small(), source)


def test_sets_all_or_nothing(tmp_path):
    path = tmp_path / "stored.weights.h5"
    _small(num_classes=4).save_weights(path)
    model = _small()
    before = _values(model)
    for wanted, message in (
        (model, "Logits_segments has the shapes .*include_head=False"),
        (R2Plus1D(4, width=0.02), "lacks the layer stem_0 of r2plus1d. It holds"),
    ):
        with pytest.raises(ValueError, match=message):
            load_layer_weights(wanted, path)
    _assert_same(_values(model), before)
    with pytest.raises(ValueError, match="conv1_conv has .*same width"):
        load_layer_weights(TSN(4, 2, 16, width=0.5, segments=2, network="small"), path)
