"""TSN and TSM against NumPy, and ResNet-50 against Keras Applications' own."""

import keras
import numpy as np
import pytest

from kd_keras.models import TSM, TSN, tsn
from tests import residual_networks
from tests.published_i3d import run

# Segments, height, width, channels of the maps of a 224 pixel clip.
RESNET50_SHAPES = {
    "conv2_block3_out": (8, 56, 56, 256),
    "conv3_block4_out": (8, 28, 28, 512),
    "conv4_block6_out": (8, 14, 14, 1024),
    "conv5_block3_out": (8, 7, 7, 2048),
}


@pytest.fixture(scope="module")
def resnet50():
    return TSN(1000, 16, 224)


def _clip(*shape, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("f4")


def _endpoints(model, network):
    names = tsn.endpoints(network)
    return keras.Model(model.input, {n: model.get_layer(n).output for n in names})


def test_resnet50_has_the_published_weights_and_maps(resnet50):
    assert resnet50.count_params() == 25_636_712
    for name, shape in RESNET50_SHAPES.items():
        assert resnet50.get_layer(name).output.shape[1:] == shape
    assert len(tsn.endpoints("resnet50")) == 17
    assert resnet50.output is resnet50.get_layer("Logits").output


def test_resnet50_is_that_of_keras_applications_on_the_middle_frames(resnet50):
    reference = keras.applications.ResNet50(
        weights=None, input_shape=(32, 32, 3), classifier_activation=None
    )
    rng = np.random.default_rng(0)
    for layer in reference.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            beta, mean = rng.standard_normal((2, *size)) * 0.1
            layer.set_weights(
                [rng.uniform(0.5, 1, size), beta, mean, rng.uniform(0.5, 2, size)]
            )
    model = TSN(1000, 9, 32, segments=2)
    for layer in model.layers:
        if layer.weights:
            name = {"Logits_segments": "predictions"}.get(layer.name, layer.name)
            layer.set_weights(reference.get_layer(name).get_weights())
    clip = _clip(1, 9, 32, 32, 3)
    frames = (clip[0, [2, 6]] + 1) * 127.5
    prepared = keras.applications.resnet.preprocess_input(frames)
    expected = run(reference, prepared).mean(axis=0, keepdims=True)
    np.testing.assert_allclose(
        run(model, clip), expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("shifted", [False, True], ids=["tsn", "tsm"])
@pytest.mark.parametrize("channels", [2, 3])
def test_small_network_is_that_of_numpy(shifted, channels):
    model = TSN(
        5,
        9,
        (33, 24),
        channels,
        width=0.25,
        segments=3,
        network="small",
        temporal_shift=shifted,
    )
    values = residual_networks.randomize(model)
    clip = _clip(2, 9, 33, 24, channels)
    expected = residual_networks.resnet(
        values, clip[:, [1, 4, 7]], (1, 1, 1, 1), False, False, shifted
    )
    residual_networks.assert_maps_equal(run(_endpoints(model, "small"), clip), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_shifted_resnet50_is_that_of_numpy(channels):
    model = TSM(5, 4, 40, channels=channels, width=1 / 16, segments=4)
    values = residual_networks.randomize(model)
    clip = _clip(1, 4, 40, 40, channels)
    prepared = clip * 127.5
    if channels == 3:
        prepared = keras.applications.resnet.preprocess_input(prepared + 127.5)
    expected = residual_networks.resnet(
        values, prepared, (3, 4, 6, 3), True, True, shifted=True
    )
    residual_networks.assert_maps_equal(
        run(_endpoints(model, "resnet50"), clip), expected
    )


def test_only_the_shift_tells_segments_apart():
    clip = _clip(2, 4, 16, 16, 3)
    for builder, alike in ((TSN, True), (TSM, False)):
        model = builder(3, 4, 16, width=0.25, segments=4, network="small")
        residual_networks.randomize(model)
        forwards, backwards = run(model, clip), run(model, clip[:, ::-1].copy())
        assert np.allclose(forwards, backwards, atol=1e-5) is alike


def test_sees_the_middle_frame_of_each_segment():
    model = TSN(3, 12, 16, width=0.25, segments=3, network="small")
    clips = np.repeat(_clip(1, 12, 16, 16, 3), 13, axis=0)
    for frame in range(12):
        clips[frame, frame] = -clips[frame, frame]
    logits = run(model, clips)
    changed = [f for f in range(12) if not np.allclose(logits[f], logits[-1])]
    assert changed == [2, 6, 10]


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = TSM(3, 4, 16, width=0.25, segments=4, network="small")
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv5_block1_out").compute_dtype == "bfloat16"
    exact = TSM(3, 4, 16, width=0.25, segments=4, network="small")
    exact.set_weights(model.get_weights())
    clip = _clip(2, 4, 16, 16, 3)
    assert model.output.dtype == "float32"
    np.testing.assert_allclose(run(model, clip), run(exact, clip), atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"segments": 9}, "segments must be from 1 to num_frames, 8. Got 9"),
        ({"segments": 0}, "segments must be from 1"),
        ({"segments": 4.0}, "segments must be a whole number. Got 4.0"),
        ({"network": "vgg"}, "network must be one of .*resnet50.*Got 'vgg'"),
        ({"num_frames": None}, "num_frames and image_size must be numbers. Got None"),
        ({"image_size": None}, "num_frames and image_size must be numbers"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"width": 0}, "width must be positive"),
        (
            {"width": 0.01, "temporal_shift": True},
            "shift needs maps of 3 channels or more. Got 1; raise width",
        ),
    ],
)
def test_refuses_what_cannot_be_built(arguments, message):
    with pytest.raises(ValueError, match=message):
        TSN(**{"num_classes": 3, "num_frames": 8, "image_size": 16} | arguments)
