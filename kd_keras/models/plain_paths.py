"""Names without `*?[\\`, which TensorFlow takes for a pattern when it reads a file."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

_PATTERN = frozenset("*?[\\")


def is_pattern(path: str) -> bool:
    """Whether TensorFlow takes a path of this machine for a pattern."""
    return "://" not in path and bool(_PATTERN & set(path))


@contextlib.contextmanager
def plain_path(path: str | os.PathLike) -> Iterator[str]:
    """Gives a path under which TensorFlow finds a checkpoint or a SavedModel.

    In a folder such as `lr[1e-3]` it finds none, though it writes them there. While
    entered, a link among the temporary files leads to what such a path names; any other
    path is given back as it is.

    Args:
        path: A folder, or the prefix of a checkpoint's files.
    """
    path = os.fspath(path)
    if not is_pattern(path):
        yield path
        return
    target = pathlib.Path(path).absolute()
    with tempfile.TemporaryDirectory(prefix="kd_keras-") as folder:
        plain = pathlib.Path(folder, "plain")
        if target.is_dir():
            plain.symlink_to(target, target_is_directory=True)
        else:
            for file in target.parent.iterdir():
                if file.name.startswith(f"{target.name}."):
                    ending = file.name.removeprefix(target.name)
                    plain.with_name(plain.name + ending).symlink_to(file)
        yield str(plain)
