"""Trains a teacher and students, evaluates them and exports the best student.

python -m train.main --flagfile=configs/demo.flags --run_dir=runs/demo
python -m train.main --flagfile=configs/demo.flags --run_dir=s3://bucket/runs/demo
python -m train.main --task=evaluate --fuse=runs/rgb,runs/flow --run_dir=runs/both
"""

import functools
import gc
import os
import sys

from absl import app, logging

from export import command_line
from kd_keras import console
from train.flags import config as config_lib

config_lib.define_flags()


def main(_):
    config = config_lib.from_flags()
    logging.set_verbosity(logging.WARNING)
    # TensorFlow takes seconds to import, so flags are checked first.
    tf = console.import_tensorflow()
    # It counts the tracing of one function for several networks as a mistake.
    tf.get_logger().setLevel("ERROR")
    from kd_keras.data import remote
    from kd_keras.data.records import shards
    from train import remote_run
    from train.experiment import ExportFailedError, run_experiment
    from train.fuse import run_fusion
    from train.loop.distribution import WorkerLostError
    from train.loop.guards import DivergedError
    from train.loop.interruption import Interrupted

    # What was imported stays; looking it over again and again takes seconds.
    gc.freeze()
    status = 0
    try:
        run = run_fusion if config.run.fuse else run_experiment
        with remote_run.working_copy(config) as (local, store):
            run(local, store)
    except Interrupted as stopped:
        print(stopped.message, file=sys.stderr)
        status = stopped.code
    except WorkerLostError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        # Ordinary ends wait for the lost worker.
        os._exit(1)
    except (ValueError, OSError, DivergedError, ExportFailedError) as error:
        logging.debug("Stopped by", exc_info=True)
        print(f"Error: {error}", file=sys.stderr)
        status = 1
    except tf.errors.OpError as error:
        message = shards.corruption(error, config.data.records)
        if message is None:
            raise
        print(f"Error: {message}", file=sys.stderr)
        status = 1
    remote.end_process(status)
    sys.exit(status)


def run():
    """Runs main, as a console command does."""
    app.run(main, flags_parser=_parse)


_parse = functools.partial(
    command_line.parse,
    command="python -m train.main",
    required={"run_dir": "the folder that keeps the run, such as --run_dir=runs/mine"},
    groups=config_lib.GROUP_NAMES,
)


if __name__ == "__main__":
    run()
