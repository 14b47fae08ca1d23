"""Files and folders that appear under their name whole, or not at all."""

import contextlib
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator

# How `written_aside` calls what is not complete: the second part is the final name.
_ASIDE = re.compile(r"\.[0-9a-f]+-.+")


@contextlib.contextmanager
def written_aside(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Context manager: yields a path to write to, which takes its name at the end.

    A file or a folder may be written to it. It lies beside `path`, begins with a dot
    and has the same ending, from which libraries tell a format. If the block raises,
    it is removed, and what `path` was stays.

    Args:
        path: Of the file, which is replaced if it exists; or of the folder, which must
            be empty or not exist.
    """
    path = pathlib.Path(path)
    aside = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield aside
        os.replace(aside, path)
    except OSError as error:
        # A write to a full disk fails without a name.
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def left_aside(folder: str | os.PathLike) -> list[pathlib.Path]:
    """What `written_aside` has begun in a folder: left by a kill, or still written."""
    paths = pathlib.Path(folder).iterdir()
    return [path for path in paths if _ASIDE.fullmatch(path.name)]
