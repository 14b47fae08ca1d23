"""A distillation of milliseconds: networks of eight tokens, without a convolution.

python -m tests.tiny_distillation NUM_DEVICES OPTIMIZER prints λ and the weights after
five steps and five of `fit` on so many devices, as JSON.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

import kd_keras
from tests import tiny_training
from train.loop import optimization

NUM_CLASSES, BATCH = 3, 4


def network(seed, channels=6):
    """A network from (batch, 2, 2, 2, 4) to logits, whose layer "map" is compared."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((2, 2, 2, 4))
    x = keras.layers.Dense(8, activation="tanh")(inputs)
    x = keras.layers.Dense(channels, name="map")(x)
    x = keras.layers.Dense(8, activation="tanh", name="deeper_map")(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    logits = keras.layers.Dense(NUM_CLASSES, dtype="float32", name="Logits")(x)
    return keras.Model(inputs, logits)


def distiller(optimizer, teacher_channels=6, **options):
    """A compiled `Distiller` from one such network to another."""
    options = {"feature_layer": "map", **options}
    model = kd_keras.Distiller(
        network(1), network(2, teacher_channels), kd_keras.DirectLoss(), **options
    )
    model.compile(optimizer=optimizer)
    model.optimizer.build(model.trainable_variables)
    return model


def batch(step):
    random = np.random.default_rng(step)
    shape = (BATCH, 2, 2, 2, 4)
    return {
        "observed": tf.constant(random.normal(size=shape), tf.float32),
        "future": tf.constant(random.normal(size=shape), tf.float32),
        "label": tf.constant(random.integers(0, NUM_CLASSES, BATCH), tf.int32),
        "labeled": tf.constant([True, False, True, False]),
        "index": tf.range(BATCH),
    }


def _strategy(num_devices):
    if num_devices == 1:
        return tf.distribute.get_strategy()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * num_devices,
    )
    return tf.distribute.MirroredStrategy(
        [f"CPU:{number}" for number in range(num_devices)]
    )


def _train(strategy, optimizer):
    with strategy.scope():
        options = tiny_training.config(f"--optimizer={optimizer}")
        model = distiller(
            optimization.optimizer(options, 5, 0.02),
            feature_weight="auto",
            gradient_ratio=0.5,
        )

    @tf.function
    def take_step(rows):
        return strategy.run(model.learn, args=(rows,))

    rows_of = tf.data.Dataset.from_generator(
        lambda: map(batch, range(5)),
        output_signature=tf.nest.map_structure(tf.type_spec_from_value, batch(0)),
    )
    for rows in strategy.experimental_distribute_dataset(
        rows_of.unbatch().batch(BATCH, drop_remainder=True)
    ):
        take_step(rows)
    model.fit(rows_of.unbatch().batch(BATCH, drop_remainder=True), verbose=0)
    return {
        "weight": float(model.current_feature_weight()),
        "weights": [float(x) for w in model.student.get_weights() for x in np.ravel(w)],
    }


if __name__ == "__main__":
    strategy = _strategy(int(sys.argv[1]))
    print(json.dumps([_train(strategy, optimizer) for optimizer in sys.argv[2:]]))
