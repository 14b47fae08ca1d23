"""Parses the flags of a command. Help is grouped, and errors are sentences."""

import sys
from collections.abc import Iterable, Mapping

from absl import flags

from export import flagfiles

_HELP = {"--help", "-help", "-h", "--h", "--helpshort", "-helpshort", "-?", "--?"}
_FULL_HELP = {"--helpfull", "-helpfull"}


def parse(
    arguments: list[str],
    command: str,
    required: Mapping[str, str],
    groups: Iterable[str] = (),
    operand: str | None = None,
) -> list[str]:
    """Parses flags and flagfiles; returns what is left: the program, then operands.

    If help was requested, prints it and ends the process with status 0. If the
    arguments are wrong, prints what is wrong and ends the process with status 1.

    Args:
        arguments: The command line, the program first.
        command: How the command is called, such as "python -m train.main".
        required: For every flag that has to be given, what its value is.
        groups: Names of groups of flags, as `flags.FLAGS` knows their modules.
        operand: What words without -- are, of which one or more have to be given, such
            as "RUN_DIR"; None allows none.
    """
    values = flags.FLAGS
    asked = set(arguments[1:])
    if asked & (_HELP | _FULL_HELP):
        print(_help(values, groups, bool(asked & _FULL_HELP)))
        sys.exit(0)
    try:
        with flagfiles.readable(arguments) as readable:
            rest = values(readable)
    except (flags.Error, ValueError, OSError) as error:
        _end(command, str(error))
    if operand is not None and len(rest) == 1:
        _end(command, f"{operand} is missing: give one or more.")
    if operand is None and len(rest) > 1:
        _end(
            command,
            f"flags begin with --, and words with blanks need quotes. Got {rest[1:]}.",
        )
    missing = [name for name in required if values[name].value is None]
    if missing:
        sentences = [f"--{name} is missing: give {required[name]}." for name in missing]
        _end(command, " ".join(sentences))
    return rest


def _end(command, fault):
    sys.exit(f"{command}: {fault}\n{command} --help lists the flags.")


def _help(values, groups, full):
    document = sys.modules["__main__"].__doc__ or ""
    texts = [values.module_help(group).strip() for group in groups]
    if full:
        modules = sorted(values.flags_by_module_dict())
        # Those that every program with absl has.
        shared = [module for module in modules if module.startswith("absl.")]
        texts += [values.module_help(module).strip() for module in shared]
    last = (
        "--flagfile=FILE reads flags from a file, one a line.\n"
        "--helpfull also lists the flags of logging and debugging."
    )
    return "\n\n".join([document.strip(), *texts, last])
