"""A run on an object store: a working copy here, pulled at the start, then pushed.

The store gets files in an order that makes it look, at every moment, like a run of this
machine that was killed: whoever pulls it can continue.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import tensorflow as tf

from kd_keras.data import exclusive, remote
from train.flags import config as config_lib
from train.flags.config import Config
from train.loop.guards import warn
from train.loop.interruption import Interruption
from train.written import write_json

# Made again if they are missing: generated videos, decoded clips, targets.
_MADE_AGAIN = ("demo", "clips", "teacher_targets")
# Lines that are ahead of a state are dropped, lines that are missing are not made.
_FIRST = "metrics.jsonl"
# The folders that count as a whole, and what makes them one.
_WHOLE = {"state/*/*": "state.index", "export/*": "saved_model.pb"}
_STATES = "state/"
_PROBE = ".kd_keras-probe"
# Of a file: bytes and time of change.
_Seen: TypeAlias = tuple[int, ...]


@contextlib.contextmanager
def working_copy(config: Config) -> "Iterator[tuple[Config, RemoteRun | None]]":
    """Gives a run a folder of this machine; its end is the run's last push.

    Yields:
        The `Config` with a local --run_dir, and the `RemoteRun`; the same `Config` and
        None if it is local anyway.
    Raises:
        OSError: If the store cannot be read and written, now or at the end.
        ValueError: If the run cannot be remote.
    """
    if not remote.is_remote(config.run.folder):
        yield config, None
        return
    if config.run.distribution == "multi_worker":
        raise ValueError(
            f"--run_dir={config.run.run_dir} is remote, and the workers of "
            "--distribution=multi_worker need one folder that all of them see: give a "
            "local one, such as on NFS."
        )
    run = RemoteRun(config.run.folder)
    # A process that a signal ends at once would leave its lock on the store.
    with Interruption(), run.exclusive_lock():
        run.pull()
        try:
            yield config_lib.with_run_dir(config, run.path), run
        except BaseException:
            run.push()
            raise
        run.finish()


@contextlib.contextmanager
def fetched(*paths: str) -> Iterator[list[str | pathlib.Path]]:
    """Yields the folders of finished runs, to be read.

    Remote ones are copied, without their checkpoints, for as long as it is entered.

    Raises:
        OSError: If a store cannot be read, or has no such run.
    """
    with tempfile.TemporaryDirectory(prefix="kd_keras-") as folder:
        yield [
            _fetch(path, pathlib.Path(folder, path.split("://")[1].strip("/")))
            if remote.is_remote(path)
            else path
            for path in paths
        ]


class RemoteRun:
    """A run directory on a store, and its working copy.

    A file beside the working copy records what the store held after our last push. If
    the store has not changed since, the working copy is kept. Otherwise it is discarded
    and downloaded again.

    Args:
        url: The remote --run_dir.
    Attributes:
        url: Without a slash at its end.
        path: Folder of the working copy.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        # Of this user: nobody else may write into her folder.
        folder = f"kd_keras-runs-{os.getuid()}"
        self.path = pathlib.Path(tempfile.gettempdir(), folder, digest)
        self._record = self.path.with_suffix(".json")
        # Per name the local and the remote (bytes, time), None while it is copied.
        self._known: dict[str, tuple[_Seen, ...] | None] = {}

    @contextlib.contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        """While entered, no other process works on the run."""
        with contextlib.ExitStack() as stack:
            with _explained(self.url, "read and written"):
                stack.enter_context(exclusive.exclusive_lock(self.url))
            yield

    def pull(self) -> None:
        """Makes the working copy what the store holds, or keeps it where it is ahead.

        Raises:
            OSError: If the store cannot be read or written.
        """
        print(
            f"{self.url}: the run works in {self.path} and is copied to the store at "
            f"each checkpoint and at the end; {', '.join(_MADE_AGAIN)} stay here.",
            flush=True,
        )
        with _explained(self.url, "read and written"):
            # A store without it is no empty store: it may not answer at all.
            probe = remote.join(self.url, _PROBE)
            remote.make_folder(self.url)
            remote.write_bytes(probe, b"")
            stored = _of_run(remote.list_files(self.url))
            remote.remove(probe)
            if self._is_ahead_of(stored):
                return
            self._record.unlink(missing_ok=True)
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
            for name in stored:
                remote.copy(remote.join(self.url, name), self.path / name)
        _drop_unfinished(self.path)
        here = self._files()
        self._known = {
            name: (here[name], seen) if name in here else None
            for name, seen in stored.items()
        }
        self._write_record()

    def push(self) -> None:
        """Brings what is new to the store, and takes from it the states that are gone.

        It warns if that fails. The next push does what this one did not.
        """
        problem = self._push()
        if problem is not None:
            warn(
                f"{self.url} could not be brought up to date: {problem}. All of it is "
                f"in {self.path}. The next checkpoint tries again, and so does the "
                "same command on this machine."
            )

    def finish(self) -> None:
        """Pushes what the end of a run leaves.

        Raises:
            OSError: If that fails; names the working copy that holds everything.
        """
        problem = self._push()
        if problem is not None:
            raise OSError(
                f"The run has ended, and {self.url} could not be brought up to date: "
                f"{problem}. All of it is in {self.path}: give the same command again "
                "on this machine, or copy that folder to the store."
            )

    def _is_ahead_of(self, stored: Mapping[str, _Seen]) -> bool:
        if not self._record.exists():
            return False
        known = json.loads(self._record.read_text(encoding="utf-8"))
        self._known = {
            name: value and tuple(map(tuple, value)) for name, value in known.items()
        }
        # What was being copied when a process ended may be there or not.
        settled = {name: v[1] for name, v in self._known.items() if v is not None}
        # Folders for temporary files are cleared of old ones now and then.
        here = self._files()
        return settled == {
            name: seen
            for name, seen in stored.items()
            if self._known.get(name, seen) is not None
        } and all(name in here for name in known if not name.startswith(_STATES))

    def _push(self) -> str | None:
        """Returns what went wrong, or None."""
        here = self._files()
        new = [name for name, seen in here.items() if self._pushed(name) != seen]
        # Like a person who writes them to the store one after the other.
        new.sort(key=lambda name: (_rank(name), here[name][1]))
        gone = [n for n in self._known if n not in here and n.startswith(_STATES)]
        gone.sort(key=_rank, reverse=True)
        if not (new or gone):
            return None
        try:
            self._known |= dict.fromkeys([*new, *gone])
            self._write_record()
            try:
                for name in new:
                    path = remote.join(self.url, name)
                    remote.copy(self.path / name, path)
                    self._known[name] = here[name], remote.seen(path)
                for name in gone:
                    remote.remove(remote.join(self.url, name))
                    del self._known[name]
            finally:
                self._write_record()
        except (tf.errors.OpError, OSError) as error:
            return _first_line(error)
        return None

    def _pushed(self, name: str) -> _Seen | None:
        known = self._known.get(name)
        return None if known is None else known[0]

    def _files(self) -> dict[str, _Seen]:
        """Returns the (bytes, time of change) of the files here by name."""
        found = {}
        for path in self.path.rglob("*"):
            if path.is_file():
                seen = path.stat()
                name = path.relative_to(self.path).as_posix()
                found[name] = (seen.st_size, seen.st_mtime_ns)
        return _of_run(found)

    def _write_record(self) -> None:
        write_json(self._record, self._known)


def _fetch(url: str, folder: pathlib.Path) -> pathlib.Path:
    with _explained(url, "read"):
        for name in _of_run(remote.list_files(url)):
            if not name.startswith(_STATES):
                remote.copy(remote.join(url, name), folder / name)
    return folder


def _of_run(files: Mapping[str, _Seen]) -> dict[str, _Seen]:
    """Returns those files that belong to the run: none that are made again or aside."""
    return {
        name: value
        for name, value in files.items()
        if not name.startswith(tuple(f"{folder}/" for folder in _MADE_AGAIN))
        and not any(part.startswith(".") for part in name.split("/"))
    }


def _rank(name: str) -> int:
    if name == _FIRST:
        return 0
    return 2 if name.endswith(tuple(_WHOLE.values())) else 1


def _drop_unfinished(path: pathlib.Path) -> None:
    for pattern, last in _WHOLE.items():
        for folder in path.glob(pattern):
            if not (folder / last).exists():
                shutil.rmtree(folder)


@contextlib.contextmanager
def _explained(url: str, done: str) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(
            f"{url} cannot be {done}: {_first_line(error)}. Check the bucket's name, "
            "the credentials, the region and, for a server of your own, S3_ENDPOINT."
        ) from error


def _first_line(error: Exception) -> str:
    # The S3 client leaves out what it does not know, before a colon.
    return str(getattr(error, "message", error)).strip(" :\n").splitlines()[0]
