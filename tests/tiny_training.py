"""A training of milliseconds, for tests of the loop around it."""

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from kd_keras.data.segments import Clip, Pair
from kd_keras.training.supervised import SupervisedTrainer
from train.flags import config as config_lib
from train.loop import optimization
from train.loop.loop import Phase

PAIRS = [
    Pair(Clip(f"v{n}", n, n + 1), Clip(f"v{n}", n, n + 2), n % 2) for n in range(9)
]


def config(*arguments):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["train.main", "--warmup_steps=0", "--validate_every=4", *arguments])
    return config_lib.from_flags(values)


class Stream:
    """Batches that are made when they are asked for, like a data set's."""

    def __init__(self, step, before=lambda step: None):
        self._step, self._before = step, before

    def __iter__(self):
        return self._batches(2**31)

    def take(self, number):
        return self._batches(number)

    def _batches(self, number):
        for step in range(self._step, self._step + number):
            self._before(step)
            random = np.random.default_rng(step)
            observed = random.normal(size=(6, 4)).astype("float32")
            yield {
                "observed": tf.constant(observed),
                "label": tf.constant((observed[:, 0] > 0).astype("int32")),
                "index": tf.constant((6 * step + np.arange(6)) % len(PAIRS)),
            }


def trainer(options, steps, units=8, dropout=0.5):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(units, name="stem"),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(2, name="Logits"),
        ]
    )
    model = SupervisedTrainer(network, "observed")
    model.compile(optimizer=optimization.optimizer(options, steps, 0.01))
    return model


def train(run, *arguments, steps=12, units=8, dropout=0.5, **more):
    """Trains; returns the weights."""
    options = config(*arguments)
    model = trainer(options, steps, units, dropout)
    fit(model, options, run, steps, **more)
    return model.network.get_weights()


def fit(model, options, run, steps, before=lambda step: None, stream=Stream, **more):
    Phase(
        name="tiny",
        model=model,
        batches_from=lambda step: stream(step, before),
        steps=steps,
        pairs=PAIRS,
        training=options.training,
        directory=run,
        **more,
    ).run()
