"""Paths as people type them: which can be used, and what `~` means."""

import os
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
