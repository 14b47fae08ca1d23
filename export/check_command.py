"""The command `python -m export.check MODELS/name`: its flags, and how it ends.

    python -m export.check MODELS/name --student=RUN_DIR/student.keras

Loads the newest version of a served model as a server does, without Keras and without
Python, answers every warm-up record, and compares.
"""

import dataclasses
import sys

from absl import flags

from export import command

FLAGS = flags.FLAGS

# The flags of paths.
_PATHS = ("model", "student")


@dataclasses.dataclass(frozen=True)
class Request:
    """What the flags ask for; the fields have their names and meanings."""

    model: str
    student: str | None = None


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string(
        "model", None, "Folder of a served model (its newest version), or a version."
    )
    flags.DEFINE_string(
        "student",
        None,
        "The student file (.keras) that was exported, with its .json beside it, or "
        "RGB.keras,FLOW.keras; its answers are compared, too.",
    )
    command.check_paths(_PATHS)


def start() -> None:
    """Runs the command; the model may be given without the name of its flag."""
    define_flags()
    sys.argv[1:] = _with_named_model(sys.argv[1:])
    command.start(
        main,
        "python -m export.check",
        required={"model": "the folder of a served model, such as MODELS/name"},
        groups={"Check": ("model", "student")},
    )


def _with_named_model(arguments):
    """The arguments, with the first word that is no flag and no value as the model."""
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        is_value = before.startswith("-") and "=" not in before
        if not word.startswith("-") and not is_value:
            return [*arguments[:place], f"--model={word}", *arguments[place + 1 :]]
    return arguments


def main(_) -> int:
    # TensorFlow takes seconds to import, so flags are read first.
    from export import verification

    request = command.request(Request, FLAGS, _PATHS)
    return command.status_of(
        "check", lambda: verification.verify(request.model, request.student)
    )
