"""Computing maps twice changes memory alone: values and gradients are the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kd_keras.training.fused_batch_norm import training_reader
from kd_keras.training.rematerialize import rematerializing_reader


def _network():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="clip")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x)
    short = x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(4, 3, padding="same", name="inside")(x)
    x = layers.BatchNormalization(momentum=0.5, name="inside_norm")(x)
    x = layers.Add(name="joined")([x, short])
    x = layers.Dropout(0.3, name="dropout")(x)
    # No layer, but a place to cut as good as any.
    x = keras.ops.reshape(x, (-1, 16, 4, 4))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="Logits")(x), name="small")


@pytest.mark.parametrize("num_segments", [2, 8])
@pytest.mark.parametrize("feature_layer", [None, "joined"])
def test_values_gradients_and_state_are_those_of_the_whole(num_segments, feature_layer):
    clips = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")

    def two_steps(make_reader, **arguments):
        network = _network()
        read = make_reader(network, feature_layer, **arguments)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                logits, features = read(clips, training=True)
                loss = tf.reduce_sum(logits**2)
                if features is not None:
                    loss += tf.reduce_sum(features**2)
            found = tape.gradient(loss, network.trainable_variables)
            for weight, gradient in zip(
                network.trainable_variables, found, strict=True
            ):
                weight.assign_sub(1e-3 * gradient)
            return loss, found

        step()
        loss, found = step()
        return loss, found, [np.array(v) for v in network.variables]

    expected = two_steps(training_reader)
    found = two_steps(rematerializing_reader, num_segments=num_segments)
    tf.nest.map_structure(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5),
        found,
        expected,
    )


def test_a_layer_that_is_frozen_after_a_training_stays():
    network = _network()
    read = rematerializing_reader(network, num_segments=8)
    clips = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")

    def means():
        read(clips, training=True)
        return [np.array(network.get_layer(n).moving_mean) for n in norms]

    norms = ("norm", "inside_norm")
    before = means()
    network.get_layer("norm").trainable = False
    after = means()
    np.testing.assert_array_equal(after[0], before[0])
    assert not np.array_equal(after[1], before[1])


def test_the_forward_pass_is_in_the_graph_twice():
    network = _network()
    read = rematerializing_reader(network, num_segments=3)

    @tf.function
    def gradients(clips):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(read(clips, training=True)[0])
        return tape.gradient(loss, network.trainable_variables)

    graph = gradients.get_concrete_function(tf.TensorSpec([2, 8, 8, 3])).graph
    kinds = [op.type for op in graph.get_operations()]
    assert kinds.count("Conv2D") == 2 * 2


def test_a_map_beside_other_paths_is_refused():
    with pytest.raises(ValueError, match="cannot be cut at 'inside'.*one of: conv"):
        rematerializing_reader(_network(), "inside")


def test_a_network_inside_is_refused():
    inputs = keras.Input((8, 8, 3))
    outer = keras.Model(inputs, _network()(inputs), name="outer")
    with pytest.raises(ValueError, match="'outer' has another network inside"):
        rematerializing_reader(outer)


def test_a_layer_that_regularizes_its_map_is_refused():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="held", activity_regularizer="l2")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    with pytest.raises(ValueError, match="'held' has an activity_regularizer"):
        rematerializing_reader(model)
