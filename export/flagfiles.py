"""Reads flagfiles that are remote, or that an editor saved with a byte order mark."""

import contextlib
import pathlib
import tempfile

from kd_keras.data import csv_table, remote

_OPTION = "--flagfile="
# absl looks for similar names by recursion, and fails at long ones.
_LONGEST_NAME = 100


@contextlib.contextmanager
def readable(arguments):
    """Yields the arguments with each flagfile replaced by a copy that absl reads.

    A flagfile is UTF-8 text and may be remote. A byte order mark is ignored.

    Raises:
        ValueError, OSError: If one cannot be read. The message names the file.
    """
    with tempfile.TemporaryDirectory(prefix="kd_keras-") as folder:
        found = list(arguments)
        for number, argument in enumerate(found):
            path = argument.removeprefix(_OPTION)
            if path and path != argument:
                copied = pathlib.Path(folder) / f"{number}.flags"
                copied.write_text(_checked_text(path), encoding="utf-8", newline="")
                found[number] = f"{_OPTION}{copied}"
        yield found


def _checked_text(path):
    if remote.is_remote(path):
        text = csv_table.decode_text(remote.read_bytes(path), path)
    else:
        text = csv_table.read_text(path, "The flagfile")
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.strip().partition("=")[0]
        if name.startswith("-") and len(name) > _LONGEST_NAME:
            raise ValueError(
                f"{path}, line {number}: no flag has a name of {len(name)} characters; "
                "write --name=value."
            )
    return text
