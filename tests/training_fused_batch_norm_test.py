"""The fused BatchNorm does what Keras's does, and leaves the network as it is."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from kd_keras.training.feature_reader import feature_reader
from kd_keras.training.fused_batch_norm import training_reader, with_fused_batch_norm


def _fused_operations(model, shape):
    graph = tf.function(lambda x: model(x, training=True)).get_concrete_function(
        tf.TensorSpec((4, *shape))
    )
    return sum(op.type == "FusedBatchNormV3" for op in graph.graph.get_operations())


def _one_layer(shape, **options):
    inputs = keras.Input(shape)
    layer = keras.layers.BatchNormalization(momentum=0.9, **options)
    model = keras.Model(inputs, layer(inputs))
    draws = np.random.default_rng(0)
    model.set_weights([draws.uniform(0.5, 2, w.shape) for w in model.weights])
    return model


@contextlib.contextmanager
def _policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("shape", [(6,), (3, 5, 6), (2, 3, 5, 6)])
@pytest.mark.parametrize("scale", [True, False])
def test_one_layer_is_the_equation_in_float64(shape, scale):
    model = _one_layer(shape, epsilon=0.01, scale=scale)
    layer = model.layers[-1]
    gamma = layer.gamma.numpy() if scale else np.ones(6)
    beta, mean, variance = (
        np.array(v, np.float64)
        for v in (layer.beta, layer.moving_mean, layer.moving_variance)
    )
    draws = np.random.default_rng(1)
    x, dy = draws.normal(3, 2, (2, 4, *shape))
    axes = tuple(range(x.ndim - 1))
    centered = x - x.mean(axes)
    norm = 1 / np.sqrt(x.var(axes) + 0.01)
    normal = centered * norm
    # The derivative by x of a sum over y with the weights dy.
    expected = gamma * norm * (dy - dy.mean(axes) - normal * (dy * normal).mean(axes))

    twin = with_fused_batch_norm(model)
    assert _fused_operations(twin, shape) == 1
    clips = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(clips)
        y = twin(clips, training=True)
        loss = tf.reduce_sum(y * dy.astype(np.float32))
    found = tape.gradient(loss, clips)
    np.testing.assert_allclose(y, gamma * normal + beta, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        layer.moving_mean, 0.9 * mean + 0.1 * x.mean(axes), rtol=1e-5
    )
    np.testing.assert_allclose(
        layer.moving_variance, 0.9 * variance + 0.1 * x.var(axes), rtol=1e-5
    )


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_network_learns_as_with_keras(policy):
    clips = np.random.default_rng(0).normal(size=(5, 4, 8, 8, 3)).astype(np.float32)
    layers = keras.layers

    def learnt(make_reader):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4, 8, 8, 3))
        with _policy(policy):
            x = layers.Conv3D(6, 3, use_bias=False, name="conv")(inputs)
            x = layers.BatchNormalization(scale=False, name="norm")(x)
            x = layers.ReLU(name="map")(x)
            x = layers.Conv3D(4, 1, name="other")(x)
            frozen = layers.BatchNormalization(name="frozen")
            x = frozen(x)
            frozen.trainable = False
            x = layers.GlobalAveragePooling3D()(x)
        network = keras.Model(inputs, x)
        read = make_reader(network, "map")
        with tf.GradientTape() as tape:
            logits, features = read(clips, training=True)
            loss = tf.reduce_sum(tf.cast(logits, tf.float32) ** 2)
            loss += tf.reduce_sum(tf.cast(features, tf.float32) ** 2)
        found = tape.gradient(loss, [v.value for v in network.trainable_variables])
        return loss, found, [np.array(v) for v in network.variables]

    precision = {"float32": 1e-4, "mixed_bfloat16": 3e-2, "mixed_float16": 4e-3}[policy]
    for one, other in zip(
        tf.nest.flatten(learnt(training_reader)),
        tf.nest.flatten(learnt(feature_reader)),
        strict=True,
    ):
        one, other = (np.asarray(array, np.float64) for array in (one, other))
        assert np.abs(one - other).max() <= precision * np.abs(other).max() + 1e-6


@pytest.mark.parametrize(
    "options",
    [{"axis": 1}, {"renorm": True}, {"synchronized": True}, {"dtype": "float64"}],
)
def test_other_layers_stay_as_they_are(options):
    model = _one_layer((3, 5, 6), **options)
    assert with_fused_batch_norm(model) is model


def test_a_subclass_does_what_it_does_itself():
    class Doubled(keras.layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training=training, mask=mask)

    inputs = keras.Input((3, 5, 6))
    model = keras.Model(inputs, Doubled()(inputs))
    x = np.random.default_rng(0).normal(size=(4, 3, 5, 6))
    y = with_fused_batch_norm(model)(x, training=True)
    expected = 2 * (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_the_network_itself_stays_plain(tmp_path):
    model = _one_layer((3, 5, 6))
    twin = with_fused_batch_norm(model)
    assert [id(v) for v in twin.variables] == [id(v) for v in model.variables]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is keras.layers.BatchNormalization
    assert _fused_operations(model, (3, 5, 6)) == 0
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6))
    np.testing.assert_allclose(loaded(x), twin(x), rtol=1e-5)
