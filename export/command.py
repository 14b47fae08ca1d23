"""What the command lines of this package share: how they start, fail and end."""

import sys
from collections.abc import Callable

import tensorflow as tf
from absl import app, flags, logging

from export.saved_model import CheckFailedError
from kd_keras.data import remote


def start(main: Callable[[list[str]], int]) -> None:
    """Parses the flags, calls `main` and ends the process with its status."""

    def main_and_end(argv):
        # Quiet unless asked: TensorFlow tells of every file that it writes.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
            tf.get_logger().setLevel("WARNING")
        status = main(argv)
        remote.end_process(status)
        return status

    app.run(main_and_end)


def status_of(name: str, work: Callable[[], object]) -> int:
    """Calls `work`; 0, or 1 after a line that says what the user can mend."""
    try:
        work()
    except (ValueError, OSError, tf.errors.OpError, CheckFailedError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
