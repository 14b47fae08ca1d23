"""Paths as people type them: which can be used, and what `~` means."""

import os
import pathlib
import unicodedata

from kd_keras.data import remote

# Control characters, and bytes of a name that are no UTF-8.
_UNWRITABLE = ("Cc", "Cs")


def problem(path: str | None) -> str | None:
    """Says why a path cannot be used; None if it can, or if there is none.

    Any character is fine except those that a flagfile, which has one flag a line,
    cannot hold.
    """
    if path is None:
        return None
    if not path:
        return "is empty; name a file or a folder, . for this one"
    if path != path.strip():
        return f"begins or ends with a blank: {path!r}; leave it out, or rename it"
    if any(unicodedata.category(character) in _UNWRITABLE for character in path):
        return f"holds a line end or another control character: {path!r}; rename it"
    return None


def require_output_file(flag: str, path: str, *endings: str) -> None:
    """Raises a ValueError unless a file can be written there, before any work is done.

    Args:
        flag: Without dashes, for the error.
        path: May be a file that exists, and will be replaced.
        endings: One of which the file's name must have, such as ".csv".
    """
    file = pathlib.Path(path)
    if file.suffix not in endings:
        raise ValueError(f"--{flag} must end in {' or '.join(endings)}. Got {path}.")
    if not file.absolute().parent.is_dir():
        raise ValueError(f"--{flag}={path}: its folder does not exist.")
    if file.is_dir():
        raise ValueError(
            f"--{flag}={path} is a folder, and a file is written. Give another name."
        )


def expanded(path: str) -> str:
    """The path with a leading `~` or `~user` replaced by that home folder.

    A folder that is really called `~` is given as `./~`.
    """
    return path if remote.is_remote(path) else os.path.expanduser(path)


def is_same(one: str, other: str, folder: str | os.PathLike = ".") -> bool:
    """Whether two paths name one thing, however they are spelled.

    Args:
        one: May be relative to `folder`, or to the working folder of today.
        other: Relative to the working folder, if it is relative.
    """
    if remote.is_remote(one) or remote.is_remote(other):
        return one.rstrip("/") == other.rstrip("/")
    wanted = os.path.realpath(expanded(other))
    places = (os.path.realpath(os.path.join(f, expanded(one))) for f in (folder, "."))
    return wanted in places
