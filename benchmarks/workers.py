"""Two workers on two cores beside one worker on one core.

`python -m benchmarks.workers` prints the clips per second of distillation steps of I3D,
the teacher asked: of one process that has one core to itself, and of two that have one
each and train together over loopback. Each has the same batch of its own, so that the
global batch is doubled. Whole runs take turns, so that other load hits them alike. The
target is 1.6 times the clips. On Linux only.
"""

import os
import statistics
import sys
import time
import traceback

from absl import app, flags

from benchmarks import processes

_WORKERS = flags.DEFINE_integer("workers", 2, "Of the larger run.", lower_bound=2)
_BATCH = flags.DEFINE_integer("batch_size", 8, "Pairs per worker.", lower_bound=2)
_FRAMES = flags.DEFINE_integer("num_frames", 16, "Frames per clip.", lower_bound=9)
_SIZE = flags.DEFINE_integer("image_size", 64, "Side in pixels.", lower_bound=32)
_WIDTH = flags.DEFINE_float("width", 0.5, "Of the networks.", lower_bound=0.01)
_LAYER = flags.DEFINE_string("feature_layer", "Mixed_5c", "Where L_d compares.")
_STEPS = flags.DEFINE_integer("steps", 20, "Timed steps of a run.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Turns of each.", lower_bound=1)

_CLASSES = 21
_WARM_UP_STEPS = 3


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    if sys.platform != "linux":
        raise app.UsageError("Workers are tied to cores, which Linux alone does.")
    cores, number = sorted(os.sched_getaffinity(0)), _WORKERS.value
    if len(cores) < number:
        raise app.UsageError(
            f"--workers={number} need a core each, and this process may use "
            f"{len(cores)}. Run it on more, or with fewer workers."
        )
    rates = {1: [], number: []}
    for turn in range(_REPEATS.value):
        # Each core is that of the one worker in its turn.
        first = turn % number
        for count in rates:
            rates[count].append(_clips_per_s(cores[first:] + cores[:first], count))
    print(
        f"I3D, width {_WIDTH.value:g}, distilled, {_BATCH.value} pairs of "
        f"{_FRAMES.value} frames of {_SIZE.value} per worker, {_REPEATS.value} turns"
    )
    print(f"{'':26}{'clips/s':>9}{'of one':>8}{'lowest':>9}{'highest':>9}")
    for count, measured in rates.items():
        name = "1 worker on 1 core"
        if count > 1:
            name = f"{count} workers on {count} cores"
        median = statistics.median(measured)
        print(
            f"{name:26}{median:9.2f}{median / statistics.median(rates[1]):8.2f}"
            f"{min(measured):9.2f}{max(measured):9.2f}"
        )


def _clips_per_s(cores, count):
    """Of a run of so many workers together, on a core each."""
    cluster = processes.loopback_cluster(count) if count > 1 else [None]
    shape = _BATCH.value, _FRAMES.value, _SIZE.value, _SIZE.value, 3
    options = shape, _WIDTH.value, _LAYER.value, _STEPS.value
    # The slowest says when all are done.
    seconds = max(
        processes.in_processes(
            _worker, [(*each, options) for each in zip(cores, cluster, strict=False)]
        )
    )
    return count * _BATCH.value * _STEPS.value / seconds


def _worker(core, tf_config, options):
    try:
        return _seconds(core, tf_config, options)
    except BaseException:
        traceback.print_exc()
        # The others wait for a worker that lives.
        os._exit(1)


def _seconds(core, tf_config, options):
    """Of the timed steps of one worker."""
    os.sched_setaffinity(0, {core})
    if tf_config is not None:
        os.environ["TF_CONFIG"] = tf_config
    # TensorFlow counts its cores when it is imported.
    import tensorflow as tf

    from train.loop.distribution import Distribution

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    strategy = None
    if tf_config is not None:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    distribution = Distribution(strategy)
    shape, width, layer, steps = options
    with distribution.scope():
        distiller = _distiller(shape, width, layer)
        batch = _batch(shape, distribution.worker)

        @tf.function(autograph=False)
        def learn():
            return distribution.run(distiller.learn, batch)

        for _ in range(_WARM_UP_STEPS):
            float(learn()["loss"])
        distribution.barrier()
        start = time.perf_counter()
        for _ in range(steps):
            float(learn()["loss"])
        seconds = time.perf_counter() - start
        distribution.barrier()
    return seconds


def _distiller(shape, width, layer):
    import keras

    import kd_keras

    keras.utils.set_random_seed(0)
    student, teacher = (
        kd_keras.I3D(
            num_classes=_CLASSES,
            num_frames=shape[1],
            image_size=shape[2],
            width=width,
        )
        for _ in range(2)
    )
    distiller = kd_keras.Distiller(
        student,
        teacher,
        feature_loss=kd_keras.AttentionalPoolingLoss(distance="huber"),
        feature_weight=1e-3,
        feature_layer=layer,
    )
    distiller.compile(keras.optimizers.SGD(1e-3, momentum=0.9))
    distiller.optimizer.build(distiller.trainable_variables)
    return distiller


def _batch(shape, worker):
    import tensorflow as tf

    observed, future = (
        tf.random.stateless_uniform(shape, (worker, number), -1, 1) for number in (0, 1)
    )
    labels = tf.range(shape[0])
    return {
        "observed": observed,
        "future": future,
        "label": labels % _CLASSES,
        "labeled": labels % 2 == 0,
    }


if __name__ == "__main__":
    app.run(main)
