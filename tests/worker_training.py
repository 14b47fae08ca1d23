"""One of the processes that train a small network together.

python -m tests.worker_training RUN_DIR STEP_TO_DIE_BEFORE
"""

import os
import signal
import sys

import keras
import tensorflow as tf

from kd_keras.training.supervised import SupervisedTrainer
from tests import tiny_training
from train.loop import optimization
from train.loop.distribution import Distribution, WorkerLostError
from train.run_directory import RunDirectory

_FLAGS = (
    "--ema=0.5",
    "--clip_norm=0.1",
    "--validate_every=2",
    "--keep=best",
    "--optimizer=sgd",
)
_STEPS = 6


def train(run_dir, distribution, before=lambda step: None):
    """Trains with frozen BatchNorm; returns the weights."""
    options = tiny_training.config(f"--run_dir={run_dir}", *_FLAGS)
    worker, count = distribution.worker, distribution.num_workers

    class OwnRows(tiny_training.Stream):
        def _batches(self, number):
            for batch in super()._batches(number):
                yield {name: value[worker::count] for name, value in batch.items()}

    with distribution.raise_on_lost_worker(), distribution.scope():
        keras.utils.set_random_seed(0)
        network = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(8, name="stem"),
                keras.layers.BatchNormalization(trainable=False),
                keras.layers.Dense(2, name="Logits"),
            ]
        )
        model = SupervisedTrainer(network, "observed")
        model.compile(optimizer=optimization.optimizer(options, _STEPS, 0.1))
        tiny_training.fit(
            model,
            options,
            RunDirectory(options, distribution.is_chief),
            _STEPS,
            before=before,
            stream=OwnRows,
            distribution=distribution,
            validate=lambda: {"top1": 0.5},
        )
        distribution.barrier()
        return network.get_weights()


def main():
    run_dir, last = sys.argv[1], int(sys.argv[2])
    distribution = Distribution(tf.distribute.MultiWorkerMirroredStrategy())

    def before(step):
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    status = 0
    try:
        train(run_dir, distribution, before)
    except WorkerLostError as error:
        print(error, flush=True)
        status = 1
    # As train.main does: other ends wait for lost workers.
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
