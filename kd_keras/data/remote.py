"""Local and remote paths; s3://, az:// and hdfs:// go through tensorflow-io."""

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

import kd_keras.aside

_SCHEME = "://"


def is_remote(path: str | os.PathLike) -> bool:
    """Whether the path has a scheme, such as s3://."""
    return _SCHEME in os.fspath(path)


def require_file_system(path: str | os.PathLike) -> None:
    """Registers the file system of a path with TensorFlow. Local paths need none.

    Raises:
        ValueError: If the scheme is unknown, with or without tensorflow-io.
    """
    if not is_remote(path):
        return
    import tensorflow as tf

    scheme = os.fspath(path).split(_SCHEME)[0]
    if scheme in tf.io.gfile.get_registered_schemes():
        return
    try:
        import tensorflow_io  # noqa: F401 - registers its file systems
    except (ImportError, NotImplementedError) as error:
        raise ValueError(
            f"{path}: {scheme}:// paths need tensorflow-io, which cannot be imported "
            f"({error}). pip install tensorflow-io==0.37.1 beside TensorFlow 2.17 on "
            "Python 3.11 or 3.12, or give a local path."
        ) from error
    if scheme not in tf.io.gfile.get_registered_schemes():
        known = ", ".join(sorted(filter(None, tf.io.gfile.get_registered_schemes())))
        raise ValueError(
            f"{path}: there is no file system {scheme}://; there are {known}."
        )


def join(folder: str | os.PathLike, *names: str) -> str:
    """The path of a file in a folder, local or remote."""
    if is_remote(folder):
        return "/".join([os.fspath(folder).rstrip("/"), *names])
    return os.path.join(folder, *names)


def exists(path: str | os.PathLike) -> bool:
    """Whether there is a file or folder."""
    if not is_remote(path):
        return os.path.exists(path)
    return _gfile(path).exists(os.fspath(path))


def make_folder(path: str | os.PathLike) -> None:
    """Makes a folder and its parents if they are missing.

    Raises:
        NotADirectoryError: If a file, or a link to nothing, is where a folder must be.
    """
    if is_remote(path):
        _gfile(path).makedirs(os.fspath(path))
        return
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        if problem := what_is_no_folder(path):
            raise NotADirectoryError(problem) from error
        raise


def what_is_no_folder(path: str | os.PathLike) -> str | None:
    """Says what stands in place of a local folder or one of its parents; else None."""
    for place in (pathlib.Path(path), *pathlib.Path(path).parents):
        if os.path.lexists(place) and not os.path.isdir(place):
            what = "a file" if os.path.exists(place) else "a link to nothing"
            return (
                f"{path} must be a folder, and {place} is {what}. Remove or rename it, "
                "or name another folder."
            )
    return None


def size(path: str | os.PathLike) -> int | None:
    """The size of a file in bytes; None if there is no file."""
    if not is_remote(path):
        return os.path.getsize(path) if os.path.isfile(path) else None
    gfile = _gfile(path)
    return gfile.stat(os.fspath(path)).length if exists(path) else None


def read_bytes(path: str | os.PathLike) -> bytes:
    """The whole of a file."""
    if not is_remote(path):
        return pathlib.Path(path).read_bytes()
    with _gfile(path).GFile(os.fspath(path), "rb") as file:
        return file.read()


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file at once or not at all.

    An object store shows an object once it is complete; on a disk the file is written
    aside and renamed, as by `written_aside`.
    """
    if is_remote(path):
        with _gfile(path).GFile(os.fspath(path), "wb") as file:
            file.write(content)
        return
    with written_aside(path) as local, local.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def written_aside(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Like `aside.written_aside`; a remote path gets a copy of a temporary file."""
    if not is_remote(path):
        with kd_keras.aside.written_aside(path) as local:
            yield local
        return
    with tempfile.TemporaryDirectory(prefix="kd_keras-") as folder:
        local = pathlib.Path(folder, os.path.basename(os.fspath(path)))
        yield local
        _gfile(path).copy(os.fspath(local), os.fspath(path), overwrite=True)


def left_aside(folder: str | os.PathLike) -> list[pathlib.Path]:
    """Like `aside.left_aside`; remote folders get whole files alone."""
    return [] if is_remote(folder) else kd_keras.aside.left_aside(folder)


def remove(path: str | os.PathLike) -> None:
    """Deletes a file, if there is one."""
    if not is_remote(path):
        pathlib.Path(path).unlink(missing_ok=True)
    elif exists(path):
        _gfile(path).remove(os.fspath(path))


def list_files(folder: str | os.PathLike) -> dict[str, tuple[int, int]]:
    """The files in a remote folder and those below: name -> (bytes, time of change).

    Names have slashes. Unlike a walk, this fails if a folder cannot be read.

    Raises:
        tf.errors.OpError: If there is no such folder, or the store does not answer.
    """
    gfile, found = _gfile(folder), {}
    for name in gfile.listdir(os.fspath(folder)):
        name = name.rstrip("/")
        path = join(folder, name)
        state = gfile.stat(path)
        if state.is_directory:
            inside = list_files(path)
            found |= {f"{name}/{below}": value for below, value in inside.items()}
        else:
            found[name] = _seen(state)
    return found


def seen(path: str | os.PathLike) -> tuple[int, int]:
    """The bytes and the time of change, in ns, of a remote file."""
    return _seen(_gfile(path).stat(os.fspath(path)))


def copy(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copies a file from or to a store. An existing file is replaced."""
    where = source if is_remote(source) else target
    make_folder(os.fspath(target).rpartition("/")[0])
    _gfile(where).copy(os.fspath(source), os.fspath(target), overwrite=True)


def end_process(status: int) -> None:
    """Ends the process with its own status.

    If the file systems of tensorflow-io are loaded, an interpreter that ends normally
    aborts at its very end, after everything is written. This ends the process before
    that. It returns if they are not loaded.
    """
    if sys.modules.get("tensorflow_io") is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _seen(state):
    return state.length, state.mtime_nsec


def _gfile(path):
    require_file_system(path)
    import tensorflow as tf

    return tf.io.gfile
