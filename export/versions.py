"""The versions of a served model: the folders of a number that a server looks for."""

import contextlib
import os
import pathlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator

import tensorflow as tf

from export.format_files import FORMAT_FILES
from kd_keras import aside
from kd_keras.data import remote
from kd_keras.models import plain_paths

# A version that a rollback took away from the server; see `take_back`.
_TAKEN_BACK = "rolled_back."
# TF Serving counts versions in 64 bits.
_HIGHEST = 2**63 - 1
# What an export that was killed leaves aside, where no server looks, is kept so long.
_LEFT_FOR_S = 24 * 3600


def next_version(output_dir: str | os.PathLike) -> int:
    """The number after the highest there was in `output_dir`, 1 for the first."""
    names = [name.removeprefix(_TAKEN_BACK) for name in _names(output_dir)]
    return max((int(name) for name in names if _is_number(name)), default=0) + 1


def versions(output_dir: str | os.PathLike) -> list[int]:
    """The versions in `output_dir`, in order; none if it does not exist.

    Raises:
        ValueError: If a number begins with zeros: a server would load it, but it could
            not be told from the number without them. Or a file has a number's name.
    """
    numbers = [name for name in _names(output_dir) if _is_number(name)]
    for name in numbers:
        if name != str(int(name)):
            raise ValueError(
                f"{os.fspath(output_dir).rstrip('/')}/{name}: the number of a version "
                f"begins with no zeros. Rename it to {int(name)}, or move it away."
            )
        path = remote.join(output_dir, name)
        # Another export may have deleted it meanwhile.
        if tf.io.gfile.exists(path) and not tf.io.gfile.isdir(path):
            raise ValueError(
                f"{os.fspath(output_dir).rstrip('/')}/{name}: a server takes a number "
                "for a version, and this is a file. Rename it, or move it away."
            )
    return sorted(map(int, numbers))


def pattern_warning(version: str) -> str | None:
    """Says that TF Serving cannot load a version, because of its path; else None."""
    if not plain_paths.is_pattern(version):
        return None
    return (
        f"TensorFlow takes {version} for a pattern, and TF Serving will not find its "
        "weights: serve it from a folder without * ? [ and \\."
    )


def free_number(output_dir: str | os.PathLike, version: int | None) -> int:
    """Returns the number of a new version: the one that is asked for, or the next.

    Raises:
        ValueError: If a version has that number, or had it before a rollback.
    """
    following = next_version(output_dir)
    number = following if version is None else version
    if number > _HIGHEST:
        raise ValueError(
            f"--output={os.fspath(output_dir)}: TF Serving knows no version above "
            f"{_HIGHEST}. Got {number}; give --version a lower number."
        )
    if version is None:
        return following
    if version in versions(output_dir):
        used = "exists and is never overwritten"
    elif was_taken_back(output_dir, version):
        used = "was taken back by a rollback, and its number is not given again"
    else:
        return version
    raise ValueError(
        f"{os.fspath(output_dir).rstrip('/')}/{version} {used}; the next free number "
        f"is {following}."
    )


def was_taken_back(output_dir: str | os.PathLike, version: int) -> bool:
    """Whether a rollback took a version of this number away."""
    return f"{_TAKEN_BACK}{version}" in _names(output_dir)


def require_format(output_dir: str | os.PathLike, name: str) -> None:
    """Raises a ValueError if versions in `output_dir` are in another format.

    A server takes every number there for a version that it can load.
    """
    for version in versions(output_dir):
        folder = f"{os.fspath(output_dir)}/{version}"
        other = format_of(folder)
        if other not in (None, name):
            raise ValueError(
                f"{folder} is in the format {other}, and a server loads all "
                f"versions of a folder. Choose another --output for {name}."
            )


def require_savedmodel(version: str) -> None:
    """Raises a ValueError if a version is in a format that TF Serving does not load."""
    name = format_of(version)
    if name not in (None, "savedmodel"):
        raise ValueError(
            f"{version} is in the format {name}, which other programs load. Export "
            "the student with --format=savedmodel for this."
        )


def format_of(version: str) -> str | None:
    """The name of the format of a version's folder; None if it holds none."""
    for name, file in FORMAT_FILES.items():
        if tf.io.gfile.exists(f"{version}/{file}"):
            return name
    return None


def require_room(output: str, size: int) -> None:
    """Raises an OSError unless `output` can be made, written to and has the room."""
    if "://" in output:
        return
    if problem := remote.what_is_no_folder(output):
        raise NotADirectoryError(f"--output={problem}")
    parent = os.path.abspath(output)
    while not os.path.exists(parent):
        parent = os.path.dirname(parent)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OSError(f"--output={output}: {parent} is not writable.")
    free = shutil.disk_usage(parent).free
    if free < size:
        raise OSError(
            f"--output={output}: {size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB "
            "are free."
        )


@contextlib.contextmanager
def written_aside(output: str, version: int) -> Iterator[pathlib.Path]:
    """Gives a folder to write into, which becomes <output>/<version> at the end."""
    target = f"{output}/{version}"
    if remote.is_remote(output):
        with tempfile.TemporaryDirectory() as folder:
            yield pathlib.Path(folder, str(version))
            _copy(pathlib.Path(folder, str(version)), target)
        return
    is_new = not os.path.exists(output)
    remote.make_folder(output)
    _remove_what_was_left(output)
    try:
        with aside.written_aside(target) as folder:
            yield folder
            if os.path.exists(target):
                raise _taken_meanwhile(target)
    except BaseException:
        if is_new:
            # Another export may have written to it.
            with contextlib.suppress(OSError):
                os.rmdir(output)
        raise


def remove_version(output: str, version: int) -> None:
    """Deletes a version; a server never sees a part of it."""
    if remote.is_remote(output):
        # Without its graph it is no version.
        tf.io.gfile.remove(f"{output}/{version}/saved_model.pb")
        tf.io.gfile.rmtree(f"{output}/{version}")
        return
    hidden = pathlib.Path(output, f".{uuid.uuid4().hex[:8]}-{version}")
    os.rename(f"{output}/{version}", hidden)
    if hidden.is_symlink():
        # What it leads to is not this folder's.
        hidden.unlink()
    else:
        shutil.rmtree(hidden)


def take_back(output: str, version: int) -> str:
    """Renames a version, so that servers give it up; returns the path it has now."""
    kept = f"{output}/{_TAKEN_BACK}{version}"
    # A server that looks in between finds no graph in what is left of a remote copy.
    tf.io.gfile.rename(f"{output}/{version}", kept)
    return kept


def _names(folder):
    folder = os.fspath(folder)
    if not tf.io.gfile.isdir(folder):
        return []
    # Listings of remote file systems end folders in a slash.
    return [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]


def _is_number(name):
    return name.isascii() and name.isdigit()


def _remove_what_was_left(output):
    for path in aside.left_aside(output):
        # Files beside the versions are left alone.
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _LEFT_FOR_S:
                shutil.rmtree(path)


def _copy(folder: pathlib.Path, target: str) -> None:
    if tf.io.gfile.exists(target):
        raise _taken_meanwhile(target)
    files = [path for path in folder.rglob("*") if path.is_file()]
    folders, copied = {target}, []
    try:
        for path in sorted(files, key=lambda path: path.name == "saved_model.pb"):
            copy = f"{target}/{path.relative_to(folder).as_posix()}"
            folders.add(os.path.dirname(copy))
            tf.io.gfile.makedirs(os.path.dirname(copy))
            copied.append(copy)
            # Fails if another export has written it meanwhile.
            tf.io.gfile.copy(str(path), copy)
    except BaseException as error:
        was_taken = isinstance(error, tf.errors.AlreadyExistsError)
        # What another export has written stays. Of the last file a part may be there.
        for copy in copied[:-1] if was_taken else copied:
            if tf.io.gfile.exists(copy):
                tf.io.gfile.remove(copy)
        # From the end: some stores list assets.extra as a part of assets.
        for there in sorted(folders, reverse=True):
            if tf.io.gfile.isdir(there) and not tf.io.gfile.listdir(there):
                tf.io.gfile.rmtree(there)
        if was_taken:
            raise _taken_meanwhile(target) from error
        raise


def _taken_meanwhile(target: str) -> OSError:
    return OSError(
        f"{target} was written by another export meanwhile. Give the same command "
        "again: it takes the next number."
    )
