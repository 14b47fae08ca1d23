"""Parses the flags of a command: help by group, faults in a sentence."""

import sys
from collections.abc import Iterable, Mapping

from absl import flags

from export import flagfiles

_HELP = {"--help", "-help", "-h", "--h", "--helpshort", "--helpfull", "-?", "--?"}


def parse(
    arguments: list[str],
    command: str,
    required: Mapping[str, str],
    groups: Iterable[str] = (),
) -> list[str]:
    """Parses flags, also those of flagfiles; returns what is none.

    Ends the process after printing the help that was asked for, with status 0, or what
    is wrong with the flags, with status 1.

    Args:
        arguments: The command line, the program first.
        command: How the command is called, such as "python -m train.main".
        required: For every flag that has to be given, what its value is.
        groups: Names of groups of flags, as `flags.FLAGS` knows their modules; none is
            the flags of the main module.
    """
    values = flags.FLAGS
    if _HELP & set(arguments[1:]):
        print(_help(values, groups))
        sys.exit(0)
    try:
        with flagfiles.readable(arguments) as readable:
            rest = values(readable)
    except (flags.Error, ValueError, OSError) as error:
        sys.exit(f"{command}: {error}\n{command} --help lists the flags.")
    missing = [name for name in required if values[name].value is None]
    if missing:
        sentences = " ".join(
            f"--{name} is missing: give {required[name]}." for name in missing
        )
        sys.exit(f"{command}: {sentences}\n{command} --help lists the flags.")
    return rest


def _help(values, groups):
    document = sys.modules["__main__"].__doc__ or ""
    if not groups:
        return f"{document}\n{values.main_module_help()}"
    texts = [values.module_help(group).strip() for group in groups]
    return "\n\n".join([document.strip(), *texts])
