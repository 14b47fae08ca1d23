"""What the command lines of this package share: how they start, fail and end."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

import tensorflow as tf
from absl import app, flags, logging

from export import command_line
from export.saved_model import CheckFailedError
from kd_keras.data import given_paths, remote

Request = TypeVar("Request")


def start(
    main: Callable[[list[str]], int], name: str, required: Mapping[str, str]
) -> None:
    """Parses the flags, calls `main` and ends the process with its status.

    Args:
        name: How the command is called, such as "python -m export.main".
        required: For every flag that has to be given, what its value is.
    """

    def main_and_end(argv):
        # Quiet unless asked: TensorFlow tells of every file that it writes.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
            tf.get_logger().setLevel("WARNING")
        status = main(argv)
        remote.end_process(status)
        return status

    parse = functools.partial(command_line.parse, command=name, required=required)
    app.run(main_and_end, flags_parser=parse)


def check_paths(names: Iterable[str]) -> None:
    """Has flags of paths refused when they are parsed, if no path can be so."""

    def require_usable(path):
        if problem := given_paths.problem(path):
            raise flags.ValidationError(f"it {problem}.")
        return True

    for name in names:
        flags.register_validator(name, require_usable)


def request(kind: type[Request], values, paths: Collection[str]) -> Request:
    """The dataclass whose fields are the parsed flags of their names.

    Args:
        values: The parsed flags, by name.
        paths: The flags of paths; a leading `~` is the home folder.
    """
    fields = {
        field.name: values[field.name].value for field in dataclasses.fields(kind)
    }
    for name in paths:
        if fields[name] is not None:
            fields[name] = given_paths.expanded(fields[name])
    return kind(**fields)


def status_of(name: str, work: Callable[[], object]) -> int:
    """Calls `work`; 0, or 1 after a line that says what the user can mend."""
    try:
        work()
    except (ValueError, OSError, tf.errors.OpError, CheckFailedError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
