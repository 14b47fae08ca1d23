"""One process at a time in a folder, local or remote: a file says whose it is."""

import contextlib
import datetime
import json
import os
import pathlib
import socket
import uuid
from collections.abc import Iterator

from kd_keras.data import remote

LOCK = ".kd_keras-lock"


class InUseError(OSError):
    """Another process works in the folder."""


@contextlib.contextmanager
def exclusive_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps other processes out of a folder while it is entered.

    The file of a process of this machine that is gone is taken over. Whether one of
    another machine is gone nobody can tell here: the person may delete the file.

    A store cannot create a file only where there is none: of two processes that begin
    within a second, both may go on.

    Args:
        folder: Local or remote; made if it is missing.
    Raises:
        InUseError: With the other's host, process and start.
    """
    remote.make_folder(folder)
    path, own = remote.join(folder, LOCK), _own()
    while not _create(path, own):
        require_free(folder)
        _take_away(path)
    try:
        yield
    finally:
        _give_back(path, own)


def require_free(folder: str | os.PathLike) -> None:
    """Raises InUseError if another process works in a folder."""
    path = remote.join(folder, LOCK)
    holder = _read(path)
    if holder is None:
        return
    who = f"process {holder['process']} of {holder['host']}, since {holder['since']}"
    if not _is_here(holder):
        raise InUseError(
            f"{folder} is in use: {who}. Wait for it, or name another folder. If that "
            f"process is gone, delete {path} and give the same command again."
        )
    if _is_running(holder):
        raise InUseError(
            f"{folder} is in use: {who}. Wait for it or end it, or name another folder."
        )


def _is_here(holder):
    return holder["host"] == socket.gethostname()


def _is_running(holder):
    """Whether a process of this machine is the one that wrote the file."""
    return _start_of(holder["process"]) == holder["started"]


def _own():
    now = datetime.datetime.now().astimezone()
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": now.isoformat(sep=" ", timespec="seconds"),
        # Numbers of processes come again.
        "started": _start_of(os.getpid()),
        "use": uuid.uuid4().hex,
    }


def _start_of(process):
    """When a process of this machine started, as the system counts; None if it is gone.

    Systems without /proc say only whether it is there.
    """
    if os.path.isdir("/proc/self"):
        try:
            # The name before it is in parentheses, and may hold any character.
            fields = pathlib.Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")
        except OSError:
            return None
        state, *others = fields[2].split()
        return None if state in (b"Z", b"X") else int(others[18])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 0


def _create(path, content):
    """Writes the file if there is none; returns whether it did."""
    text = json.dumps(content, indent=2).encode()
    if remote.is_remote(path):
        if remote.exists(path):
            return False
        remote.write_bytes(path, text)
        return _read(path) == content
    aside = f"{path}.{content['use']}"
    try:
        pathlib.Path(aside).write_bytes(text)
        # Unlike a rename it fails if the file is there.
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without links.
        try:
            with open(path, "xb") as file:
                file.write(text)
        except FileExistsError:
            return False
    finally:
        pathlib.Path(aside).unlink(missing_ok=True)
    return True


def _give_back(path, content):
    # A person who deleted the file may have given the folder to another process.
    try:
        if _read(path) == content:
            remote.remove(path)
    except Exception:
        # A store that does not answer: the run's own error says so.
        if not remote.is_remote(path):
            raise


def _take_away(path):
    """Removes the file of a process that is gone, unless another has just done so."""
    if remote.is_remote(path):
        remote.remove(path)
        return
    aside = f"{path}.{uuid.uuid4().hex}"
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    try:
        holder = _read(aside)
        if not _is_here(holder) or _is_running(holder):
            # Another process was faster, and this is its file.
            os.link(aside, path)
    finally:
        pathlib.Path(aside).unlink(missing_ok=True)


def _read(path):
    """Whose the folder is; None if it is nobody's."""
    if not remote.exists(path):
        return None
    try:
        holder = json.loads(remote.read_bytes(path))
    except FileNotFoundError:
        return None
    except ValueError:
        holder = {}
    unknown = dict.fromkeys(("host", "process", "since", "started", "use"), "unknown")
    return unknown | holder
