"""I3D against the published network written again in NumPy."""

import keras
import numpy as np
import pytest

import kd_keras
from kd_keras.models import i3d
from tests import published_i3d
from tests.published_i3d import run

# Time, height, width, channels of a 64x224x224 clip's endpoints, from the paper.
ENDPOINT_SHAPES = {
    "Conv3d_1a_7x7": (32, 112, 112, 64),
    "MaxPool3d_2a_3x3": (32, 56, 56, 64),
    "Conv3d_2b_1x1": (32, 56, 56, 64),
    "Conv3d_2c_3x3": (32, 56, 56, 192),
    "MaxPool3d_3a_3x3": (32, 28, 28, 192),
    "Mixed_3b": (32, 28, 28, 256),
    "Mixed_3c": (32, 28, 28, 480),
    "MaxPool3d_4a_3x3": (16, 14, 14, 480),
    "Mixed_4b": (16, 14, 14, 512),
    "Mixed_4c": (16, 14, 14, 512),
    "Mixed_4d": (16, 14, 14, 512),
    "Mixed_4e": (16, 14, 14, 528),
    "Mixed_4f": (16, 14, 14, 832),
    "MaxPool3d_5a_2x2": (8, 7, 7, 832),
    "Mixed_5b": (8, 7, 7, 832),
    "Mixed_5c": (8, 7, 7, 1024),
    "Logits": (400,),
}


@pytest.fixture(scope="module")
def published():
    return kd_keras.I3D(num_frames=64, image_size=224)


@pytest.fixture(scope="module")
def narrow():
    """A network an eighth as wide, with weights as of a trained one."""
    model = kd_keras.I3D(num_classes=7, width=0.125)
    _randomize(model)
    return model


def test_has_as_many_weights_as_the_published_checkpoint(published):
    trainable = sum(int(np.prod(w.shape)) for w in published.trainable_weights)
    assert published.count_params() == 12_704_544
    assert trainable == 12_689_984


def test_has_every_published_endpoint_in_its_shape(published):
    shapes = {
        name: published.get_layer(name).output.shape[1:] for name in ENDPOINT_SHAPES
    }
    assert shapes == ENDPOINT_SHAPES
    assert tuple(ENDPOINT_SHAPES) == i3d.ENDPOINTS
    assert published.output is published.get_layer("Logits").output


def test_batch_normalization_is_the_published_one(published):
    layer = published.get_layer("Conv3d_1a_7x7_batch_norm")
    assert (layer.scale, layer.center) == (False, True)
    assert (layer.epsilon, layer.momentum) == (1e-3, 0.999)
    model = kd_keras.I3D(start="Mixed_4f", batch_norm_momentum=0.9)
    assert {
        layer.momentum
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    } == {0.9}


@pytest.mark.parametrize(
    ("divisor", "channels", "clip_shape"),
    [
        (1, 3, (1, 17, 40, 48)),
        (8, 3, (2, 9, 32, 32)),
        (8, 2, (1, 10, 33, 47)),  # odd sizes: uneven SAME padding
        (8, 3, (1, 31, 63, 50)),
        (8, 1, (1, 9, 7, 5)),
    ],
)
def test_endpoints_are_those_of_the_published_network(divisor, channels, clip_shape):
    shapes = published_i3d.variable_shapes("", channels, 11, divisor=divisor)
    variables = published_i3d.random_variables(shapes)
    model = kd_keras.I3D(11, channels=channels, width=1 / divisor)
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(variables[_published_name(layer, weight)])
    clip = np.random.default_rng(1).uniform(-1, 1, (*clip_shape, channels))
    clip = clip.astype("f4")
    every_endpoint = keras.Model(
        model.input, {name: model.get_layer(name).output for name in i3d.ENDPOINTS}
    )
    expected = published_i3d.endpoints(variables, clip)
    for name, value in run(every_endpoint, clip).items():
        scale = np.abs(expected[name]).max()
        assert 0.1 < scale < 100  # neither dead nor exploded: the check means something
        np.testing.assert_allclose(
            value / scale, expected[name] / scale, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize("size", [224, None], ids=["at 224 pixels", "of open size"])
def test_head_is_the_published_pooling(size):
    model = kd_keras.I3D(21, size and 64, size, start="Mixed_5c")
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 2, (2, 8, 7, 7, 1024)).astype("f4")
    kernel, bias = model.get_weights()
    bias = rng.standard_normal(bias.shape)
    model.set_weights([kernel, bias])
    np.testing.assert_allclose(
        run(model, features), published_i3d.head(features, kernel, bias), atol=1e-5
    )


def test_first_and_last_time_step_count_half():
    model = kd_keras.I3D(1, start="Mixed_5c", width=0.01)
    kernel, bias = model.get_weights()
    model.set_weights([np.ones_like(kernel), bias])
    features = np.zeros((5, 5, 1, 1, kernel.shape[3]), "f4")
    features[range(5), range(5), :, :, 0] = 1.0  # clip i is lit at time i alone
    np.testing.assert_allclose(
        run(model, features)[:, 0], np.array([1, 2, 2, 2, 1]) / 8, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("num_frames", "image_size"), [(9, 33), (16, (40, 64)), (33, [48, 20])]
)
def test_a_fixed_size_changes_nothing(narrow, num_frames, image_size):
    model = kd_keras.I3D(7, num_frames, image_size, width=0.125)
    model.set_weights(narrow.get_weights())
    clip = np.random.default_rng(2).uniform(-1, 1, (2, *model.input.shape[1:]))
    np.testing.assert_allclose(run(model, clip), run(narrow, clip), atol=1e-5)


@pytest.mark.parametrize("start", i3d.ENDPOINTS[:-1:3])
def test_a_tail_continues_from_stored_features(narrow, start):
    clip = np.random.default_rng(3).uniform(-1, 1, (2, 9, 40, 40, 3))
    features = run(keras.Model(narrow.input, narrow.get_layer(start).output), clip)
    tail = kd_keras.I3D(7, 9, 40, width=0.125, start=start)
    assert tail.input.name == start
    assert tail.input.shape[1:] == features.shape[1:]
    assert tail.get_layer(start).output is tail.input
    assert tail.get_layer("Logits").output is tail.output
    for layer in tail.layers:
        layer.set_weights(narrow.get_layer(layer.name).get_weights())
    np.testing.assert_allclose(run(tail, features), run(narrow, clip), atol=1e-5)


def test_a_tail_of_open_size():
    tail = kd_keras.I3D(start="MaxPool3d_4a_3x3", width=0.25)
    assert tail.input.shape == (None, None, None, None, 120)
    tail = kd_keras.I3D(start="MaxPool3d_4a_3x3", num_frames=32, image_size=(224, 320))
    assert tail.input.shape == (None, 8, 14, 20, 480)


@pytest.mark.parametrize(
    ("width", "filters"), [(0.5, 32), (0.0001, 1), (2, 128), (0.1, 6)]
)
def test_width_scales_every_number_of_filters(width, filters):
    model = kd_keras.I3D(5, width=width)
    assert model.get_layer("Conv3d_1a_7x7").output.shape[-1] == filters
    assert model.output.shape == (None, 5)


def test_a_saved_model_needs_keras_alone(narrow, tmp_path):
    narrow.save(tmp_path / "narrow.keras")
    model = keras.saving.load_model(tmp_path / "narrow.keras")
    clip = np.random.default_rng(4).uniform(-1, 1, (1, 9, 32, 32, 3))
    np.testing.assert_array_equal(run(model, clip), run(narrow, clip))
    assert {type(layer).__module__.split(".")[0] for layer in narrow.layers} == {
        "keras"
    }
    assert model.get_layer("Mixed_5c").output.shape[-1] == 128


def test_dropout_acts_in_training_on_the_pooled_features():
    model = kd_keras.I3D(3, width=0.05, dropout=0.9)
    layer = model.get_layer("Logits_Dropout_0b")
    assert layer.rate == 0.9
    assert layer.output.shape[1:4] == (1, 1, 1)
    clip = np.random.default_rng(5).uniform(-1, 1, (1, 9, 16, 16, 3))
    np.testing.assert_array_equal(run(model, clip), run(model, clip))
    tail = kd_keras.I3D(3, width=0.05, dropout=0.9, start="Mixed_5c")
    features = np.ones((1, 2, 1, 1, tail.input.shape[-1]), "f4")
    assert not np.array_equal(
        keras.ops.convert_to_numpy(tail(features, training=True)), run(tail, features)
    )


@pytest.mark.parametrize("compute", ["bfloat16", "float16"])
def test_logits_are_float32_under_mixed_precision(compute, narrow):
    keras.config.set_dtype_policy(f"mixed_{compute}")
    try:
        model = kd_keras.I3D(7, width=0.125)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("Mixed_5c").compute_dtype == compute
    assert model.input.dtype == model.output.dtype == "float32"
    if compute == "float16":
        return  # TensorFlow has no float16 max pooling on CPUs.
    model.set_weights(narrow.get_weights())
    clip = np.random.default_rng(6).uniform(-1, 1, (2, 9, 32, 32, 3))
    exact = run(narrow, clip)
    np.testing.assert_allclose(run(model, clip), exact, atol=0.1 * np.abs(exact).max())


def test_a_step_of_training_moves_weights_and_statistics():
    model = kd_keras.I3D(3, start="Mixed_5b", width=0.05, batch_norm_momentum=0.5)
    before = model.get_weights()
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    filters = model.input.shape[-1]
    features = np.random.default_rng(7).uniform(0, 2, (4, 2, 2, 2, filters))
    model.train_on_batch(features, np.eye(3)[[0, 1, 2, 0]])
    for old, new, weight in zip(
        before, model.get_weights(), model.weights, strict=True
    ):
        assert not np.array_equal(new, old), weight.path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 8}, "num_frames must be at least 9. Got 8"),
        ({"start": "Mixed_6a"}, "start must be one of Conv3d_1a_7x7.*Got 'Mixed_6a'"),
        ({"start": "Logits"}, "start must be one of"),
        ({"channels": 4}, r"channels must be 3 \(RGB\), 2.*Got 4"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"num_classes": 2.0}, "num_classes must be a whole number. Got 2.0"),
        ({"num_classes": None}, "num_classes must be a whole number. Got None"),
        ({"num_frames": "9"}, "num_frames must be a whole number. Got '9'"),
        ({"channels": True}, "channels must be a whole number. Got True"),
        ({"channels": None}, "channels must be a whole number. Got None"),
        ({"width": "1"}, "width must be a number. Got '1'"),
        ({"width": float("inf")}, "width must be positive and finite. Got inf"),
        ({"image_size": 32.5}, "image_size must be pixels.*Got 32.5"),
        ({"image_size": "32"}, "image_size must be pixels.*Got 32"),
        ({"width": 0}, "width must be positive"),
        ({"dropout": 1}, r"dropout must be in \[0, 1\)"),
        ({"batch_norm_momentum": 1.0}, "batch_norm_momentum must be in"),
        ({"image_size": (224, 224, 3)}, r"image_size must be pixels.*\(224, 224, 3\)"),
        ({"image_size": 0}, "image_size must be pixels.*Got 0"),
    ],
)
def test_refuses_what_cannot_be_built(arguments, message):
    with pytest.raises(ValueError, match=message):
        kd_keras.I3D(**arguments)


def _randomize(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.beta.shape
            layer.set_weights(
                [
                    rng.standard_normal(size) * 0.2,
                    rng.standard_normal(size) * 0.2,
                    rng.uniform(0.5, 2, size),
                ]
            )


def _published_name(layer, weight):
    names = {"kernel": "w", "bias": "b"}
    unit, kind = layer.name.rsplit("_conv_3d", 1)[0], "conv_3d"
    if layer.name.endswith("_batch_norm"):
        unit, kind = layer.name.removesuffix("_batch_norm"), "batch_norm"
    unit = unit.replace("_Branch_", "/Branch_").replace("_Conv3d_0", "/Conv3d_0")
    return f"{unit}/{kind}/{names.get(weight.name, weight.name)}"
