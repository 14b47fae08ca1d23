"""Convolutions that half precision gets wrong are found, and go on in float32."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import gen_nn_ops

import kd_keras
from kd_keras.training import half_precision

# Of 9 to 16 frames, where the published fault is.
FAULTY = [
    "Mixed_5b_Branch_1_Conv3d_0b_3x3_conv_3d",
    "Mixed_5b_Branch_2_Conv3d_0a_3x3_conv_3d",
    "Mixed_5c_Branch_1_Conv3d_0b_3x3_conv_3d",
    "Mixed_5c_Branch_2_Conv3d_0b_3x3_conv_3d",
]


@pytest.fixture(autouse=True)
def afresh():
    half_precision.fault.cache_clear()
    yield
    half_precision.fault.cache_clear()


@pytest.fixture(autouse=True)
def healthy_machine(monkeypatch):
    """No filter gradient is wrong, even on processors that have the published fault."""
    fast = gen_nn_ops.conv3d_backprop_filter_v2

    def right(input, filter_sizes, out_backprop, *args, **kwargs):
        whole = (
            tf.cast(input, tf.float32),
            filter_sizes,
            tf.cast(out_backprop, tf.float32),
        )
        return tf.cast(fast(*whole, *args, **kwargs), input.dtype)

    monkeypatch.setattr(gen_nn_ops, "conv3d_backprop_filter_v2", right)


@pytest.fixture
def faulty_machine(healthy_machine, monkeypatch):
    """A machine whose filter gradient is wrong in bfloat16, for 3x3x3 over 2 frames."""
    right = gen_nn_ops.conv3d_backprop_filter_v2

    def wrong(input, filter_sizes, out_backprop, *args, **kwargs):
        gradient = right(input, filter_sizes, out_backprop, *args, **kwargs)
        if input.dtype != tf.bfloat16 or input.shape[1] != 2:
            return gradient
        is_faulty = tf.reduce_all(filter_sizes[:3] == 3)
        # A frame is taken for another.
        return tf.where(is_faulty, tf.roll(gradient, 1, axis=0), gradient)

    monkeypatch.setattr(gen_nn_ops, "conv3d_backprop_filter_v2", wrong)


def network(policy="mixed_bfloat16", **arguments):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        return kd_keras.I3D(
            **{"num_classes": 3, "num_frames": 9, "image_size": 32, "width": 0.03}
            | arguments
        )
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(model):
    return [
        layer.name
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv3D)
        and layer.compute_dtype == "float32"
        and not layer.name.startswith("Logits")
    ]


def test_a_healthy_machine_is_left_alone():
    model = network()
    assert half_precision.keep_right(model) == {}
    assert in_float32(model) == []


def test_float32_is_not_checked(monkeypatch):
    monkeypatch.setattr(half_precision, "passes", None)
    assert half_precision.keep_right(network("float32")) == {}


def test_the_faulty_layers_go_on_in_float32(faulty_machine, tmp_path):
    model = network()
    wrong = half_precision.keep_right(model)
    assert sorted(wrong) == sorted(FAULTY)
    for problem in wrong.values():
        assert "the gradient for its filters is off by" in problem
        assert "of a 3x3x3 convolution over 2 frames in bfloat16" in problem
    assert sorted(in_float32(model)) == sorted(FAULTY)
    # Once more finds nothing more, and the file keeps what was decided.
    assert half_precision.keep_right(model) == {}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert sorted(in_float32(loaded)) == sorted(FAULTY)


def small_network(policy, frames):
    keras.utils.set_random_seed(0)
    clip = keras.Input((frames, None, None, 3))
    x = keras.layers.Conv3D(16, 3, padding="same", dtype=policy, name="first")(clip)
    x = keras.layers.ReLU(dtype=policy)(x)
    x = keras.layers.Conv3D(16, 3, padding="same", dtype=policy, name="second")(x)
    return keras.Model(clip, keras.layers.GlobalAveragePooling3D(dtype=policy)(x))


def test_the_gradients_are_right_again(faulty_machine):
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 2, 6, 6, 3)).astype("f4")

    def gradients(model):
        @tf.function(autograph=False)
        def of_filters(clips):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(clips)[:, 0])
            layers = [model.get_layer(name) for name in ("first", "second")]
            return tape.gradient(loss, [layer.kernel for layer in layers])

        return of_filters(clips)

    right = gradients(small_network("float32", 2))
    model = small_network("mixed_bfloat16", 2)
    for bound in (np.inf, 0.05):
        for found, expected in zip(gradients(model), right, strict=True):
            off = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            assert off < bound and (off > 0.5) == (bound == np.inf)
        assert len(half_precision.keep_right(model)) == (2 if bound == np.inf else 0)


def test_a_network_of_open_size_is_checked_at_the_size_of_the_run(faulty_machine):
    model = small_network("mixed_bfloat16", None)
    assert half_precision.keep_right(model, (4, 32, 32, 3)) == {}
    assert sorted(half_precision.keep_right(model, (2, 32, 32, 3))) == [
        "first",
        "second",
    ]
    assert in_float32(model) == ["first", "second"]


def test_other_depths_are_right(faulty_machine):
    assert half_precision.keep_right(small_network("mixed_bfloat16", 3)) == {}


def test_convolutions_of_pictures_and_inner_networks_are_checked(monkeypatch):
    frames = keras.Input((8, 8, 3))
    arguments = {"padding": "same", "dtype": "mixed_bfloat16"}
    inner_frames = keras.Input((8, 8, 4))
    inner = keras.Model(
        inner_frames, keras.layers.Conv2D(4, 3, **arguments, name="in")(inner_frames)
    )
    outer = keras.layers.Conv2D(4, 1, **arguments, name="out")(frames)
    model = keras.Model(frames, inner(outer))
    right = half_precision.passes

    def wrong(convolution, maps, kernel):
        output, *gradients = right(convolution, maps, kernel)
        if maps.dtype == tf.bfloat16 and convolution.kernel[0] == 3:
            output *= np.nan
        return output, *gradients

    monkeypatch.setattr(half_precision, "passes", wrong)
    (problem,) = half_precision.keep_right(model).items()
    assert problem[0] == "in" and "its output is not finite of a 3x3" in problem[1]
    assert model.get_layer("out").compute_dtype == "bfloat16"
    assert inner.get_layer("in").compute_dtype == "float32"


def test_float16_needs_an_accelerator():
    half_precision.require_device("float32")
    half_precision.require_device("mixed_bfloat16")
    with pytest.raises(
        ValueError, match="mixed_float16 needs a GPU.*mixed_bfloat16 or"
    ):
        half_precision.require_device("mixed_float16")


def test_depthwise_convolutions_are_checked_too(monkeypatch):
    right = gen_nn_ops.depthwise_conv2d_native_backprop_filter

    def wrong(input, *args, **kwargs):
        gradient = right(input, *args, **kwargs)
        return gradient[::-1] if input.dtype == tf.bfloat16 else gradient

    monkeypatch.setattr(gen_nn_ops, "depthwise_conv2d_native_backprop_filter", wrong)
    inputs = keras.Input((9, 9, 40))
    layer = keras.layers.DepthwiseConv2D(3, dtype="mixed_bfloat16", name="each")
    problems = half_precision.keep_right(keras.Model(inputs, layer(inputs)))
    assert [*problems] == ["each"]
    assert "for its filters" in problems["each"]
    assert "of a 3x3 depthwise convolution in bfloat16" in problems["each"]
    assert layer.compute_dtype == "float32"
