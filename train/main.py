"""Trains a teacher and students, evaluates them and exports the best student.

python -m train.main --flagfile=configs/demo.flags --run_dir=runs/demo
python -m train.main --flagfile=configs/demo.flags --run_dir=s3://bucket/runs/demo
python -m train.main --flagfile=runs/epic/run.flags --task=submit
python -m train.main --task=evaluate --fuse=runs/rgb,runs/flow --run_dir=runs/both
"""

import gc
import os
import sys
from collections.abc import Callable, Sequence

from export import command
from kd_keras import console
from train.flags import config as config_lib
from train.flags.config import Config

config_lib.define_flags()


@console.reader_may_leave()
def main(_: Sequence[str]) -> int:
    """Does what the flags say; returns the status that the process ends with."""
    import tensorflow as tf

    # It counts the tracing of one function for several networks as a mistake.
    tf.get_logger().setLevel("ERROR")
    from kd_keras.data.batches import stream
    from kd_keras.data.records import shards
    from train import few_clips, remote_run
    from train.fuse import run_fusion
    from train.loop.distribution import WorkerLostError
    from train.loop.guards import DivergedError
    from train.loop.interruption import Interrupted
    from train.results import ExportFailedError
    from train.run import run_experiment
    from train.submit import run_submission

    # What was imported stays; looking it over again and again takes seconds.
    gc.freeze()
    config = config_lib.from_flags()
    run: Callable[[Config, remote_run.RemoteRun | None], object] = (
        run_fusion if config.run.fuse else run_experiment
    )
    if config.run.task == "submit":
        run = run_submission

    def work() -> None:
        try:
            fitted = few_clips.fitted(config)
            with remote_run.working_copy(fitted) as (local, store):
                run(local, store)
        except tf.errors.OpError as error:
            message = shards.corruption(error, config.data.records)
            if message is not None:
                raise shards.CorruptShard(message) from error
            message = stream.refusal(error)
            if message is None:
                raise
            raise ValueError(message) from error

    errors = (ValueError, OSError, DivergedError, ExportFailedError)
    try:
        return command.status_of("Error", work, errors)
    except Interrupted as stopped:
        print(stopped.message, file=sys.stderr)
        return stopped.code
    except WorkerLostError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        # Ordinary ends wait for the lost worker.
        os._exit(1)


if __name__ == "__main__":
    command.start(
        main,
        "python -m train.main",
        required={
            "run_dir": "the folder that keeps the run, such as --run_dir=runs/mine"
        },
        groups=config_lib.GROUP_NAMES,
    )
