"""What all command lines share: how they start, fail and end."""

import dataclasses
import functools
import math
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from absl import app, flags, logging

from export import command_line
from kd_keras import console
from kd_keras.data import given_paths, remote

Request = TypeVar("Request")


def start(
    main: Callable[[list[str]], int],
    name: str,
    required: Mapping[str, str],
    groups: Mapping[str, Iterable[str]] | Iterable[str],
    operand: str | None = None,
) -> None:
    """Parses the flags, calls `main` and ends the process with its status.

    It is 1 after an exception, of which the traceback is printed.

    Args:
        name: How the command is called, such as "python -m export.main".
        required: For every flag that has to be given, what its value is.
        groups: The flags by the title under which help lists them; or the titles
            alone, if the flags are key flags of modules with these names already.
        operand: As `command_line.parse` takes it.
    """

    def main_and_end(argv):
        # TensorFlow takes seconds to import, so flags are checked first.
        tf = console.import_tensorflow()
        # Quiet unless asked: TensorFlow tells of every file that it writes.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
            tf.get_logger().setLevel("WARNING")
        try:
            status = main(argv)
        except app.UsageError:
            raise
        except Exception:
            # Raised further, its traceback would keep data sets alive to the end. Their
            # threads wait for Python, and Python, as it ends, for them.
            traceback.print_exc()
            status = 1
        remote.end_process(status)
        return status

    values = flags.FLAGS
    if isinstance(groups, Mapping):
        for title, names in groups.items():
            for flag in names:
                values.register_key_flag_for_module(title, values[flag])
    parse = functools.partial(
        command_line.parse,
        command=name,
        required=required,
        groups=groups,
        operand=operand,
    )
    app.run(main_and_end, flags_parser=parse)


def check_paths(names: Iterable[str]) -> None:
    """Makes the parser refuse values of these flags that cannot be a path."""

    def require_usable(value):
        for path in value if isinstance(value, list) else [value]:
            if problem := given_paths.problem(path):
                raise flags.ValidationError(f"it {problem}.")
        return True

    for name in names:
        flags.register_validator(name, require_usable)


def check_finite(names: Iterable[str]) -> None:
    """Makes the parser refuse NaN, which is within all bounds, and infinity."""
    for name in names:
        flags.register_validator(
            name,
            lambda number: number is None or math.isfinite(number),
            "must be a finite number",
        )


def request(kind: type[Request], values, paths: Collection[str]) -> Request:
    """The dataclass whose fields are the parsed flags of their names.

    Args:
        values: The parsed flags, by name.
        paths: The flags of paths, or of several; a leading `~` is the home folder.
    """
    fields = {
        field.name: values[field.name].value for field in dataclasses.fields(kind)
    }
    for name in paths:
        value = fields[name]
        if isinstance(value, list | tuple):
            fields[name] = [given_paths.expanded(path) for path in value]
        elif value is not None:
            fields[name] = given_paths.expanded(value)
    return kind(**fields)


def status_of(
    name: str,
    work: Callable[[], object],
    errors: tuple[type[Exception], ...] | None = None,
) -> int:
    """Calls `work`; returns 0, or 1 after printing an error that the user can fix.

    With --verbosity=1 the traceback is printed too.

    Args:
        name: Stands before the text of an error.
        errors: What the user can fix; by default what exporting and predicting raise.
    """
    if errors is None:
        import tensorflow as tf

        from export.checking import CheckFailedError

        errors = (ValueError, OSError, tf.errors.OpError, CheckFailedError)
    try:
        work()
    except errors as error:
        logging.debug("Stopped by", exc_info=True)
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
