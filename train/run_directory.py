"""The folder of a run: its flags, metrics, networks and results."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from kd_keras.data import exclusive, given_paths, remote
from train import json_lines, times
from train.flags import config as config_lib
from train.flags.config import Config
from train.remote_run import RemoteRun
from train.written import write_json, write_text

# What a training leaves; without any of it a folder may become any run's.
_WORK = (
    "metrics.jsonl",
    "results.json",
    "*.keras",
    "students/*.keras",
    "state/*/step-*",
)

# Beside the flags in run.json: what relative paths among them start from.
_FOLDER = "working_folder"


class RunDirectory:
    """Opens a run's folder, or makes it; `begin` makes it this run's.

    Args:
        config: The run's `Config`.
        writes: False only reads, because another worker writes.
        store: The `RemoteRun` whose working copy the folder is, or None.
    Raises:
        ValueError: If the folder holds a run of other flags; names them.
    """

    def __init__(
        self, config: Config, writes: bool = True, store: RemoteRun | None = None
    ) -> None:
        self._writes, self._store = writes, store
        self.path = pathlib.Path(config.run.folder)
        remote.make_folder(self.path)
        # What repeats the run names the place that it is kept in.
        self._config = config_lib.with_run_dir(config, str(self))
        self._metrics = self.path / "metrics.jsonl"
        self._refuse_other_flags()

    def __truediv__(self, name: str) -> pathlib.Path:
        return self.path / name

    def __str__(self) -> str:
        return str(self.path) if self._store is None else self._store.url

    def begin(self, files: Mapping[str, bytes] = {}) -> None:
        """Leaves what repeats the run, once everything that was given can be used.

        Args:
            files: Contents of other files that say what the run is of, by name.
        """
        if not self._writes:
            return
        for name, content in files.items():
            remote.write_bytes(self.path / name, content)
        values = config_lib.as_flags(self._config) | {_FOLDER: os.getcwd()}
        write_text(self.path / "run.flags", config_lib.to_flagfile(self._config))
        write_json(self.path / "run.json", values)

    def holds_work(self) -> bool:
        """Returns whether something was trained or evaluated here."""
        found = (path for pattern in _WORK for path in self.path.glob(pattern))
        return any(path.stat().st_size for path in found)

    def push(self) -> None:
        """Brings what is new to the store of a remote run, once it can be resumed."""
        if self._store is not None:
            self._store.push()

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Appends a line to metrics.jsonl and scalars to TensorBoard."""
        if not self._writes:
            return
        record = {"phase": phase, "step": step, **values}
        with open(self._metrics, "a", encoding="utf-8") as file:
            file.write(json_lines.to_text([record]))
        with self.summary_writer(phase).as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def history(self, phase: str | None = None) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl, of one phase or of all."""
        records = json_lines.read(self._metrics)
        return [r for r in records if phase is None or r["phase"] == phase]

    def record_time(
        self,
        part: str,
        seconds: float,
        waiting_s: float | None = None,
        anew: bool = False,
    ) -> None:
        """Adds to times.jsonl what a part of the run took in this process.

        Args:
            part: Its name, for a training that of the phase.
            seconds: All of it.
            waiting_s: What of it was waiting for data, if that is known.
            anew: Whether all of the part was done again, so that earlier times of it
                are dropped.
        """
        if self._writes:
            times.add(self.path / times.FILE, part, seconds, waiting_s, anew)

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Context manager: records what its body takes, if it comes to its end.

        The body is all of the part: what was recorded of it before is dropped.
        """
        begin_s = time.perf_counter()
        yield
        self.record_time(part, time.perf_counter() - begin_s, anew=True)

    def forget_after(self, phase: str, step: int) -> None:
        """Drops what was logged of a phase after the step that training resumes at."""
        if not self._writes:
            return
        kept = [
            record
            for record in self.history()
            if record["phase"] != phase or record["step"] <= step
        ]
        write_text(self._metrics, json_lines.to_text(kept))

    def summary_writer(self, phase: str) -> tf.summary.SummaryWriter:
        """Returns TensorBoard's writer of a phase."""
        return tf.summary.create_file_writer(str(self.path / "tensorboard" / phase))

    def _refuse_other_flags(self) -> None:
        known = self.path / "run.json"
        if not known.exists() or not self.holds_work():
            return
        before = json.loads(known.read_text(encoding="utf-8"))
        before = config_lib.as_of_now(before)
        now = json.loads(json.dumps(config_lib.as_flags(self._config)))
        folder = before.pop(_FOLDER, os.getcwd())
        differing = [
            f"--{name} was {before.get(name)!r}, now {now.get(name)!r}"
            for name in sorted({*before, *now})
            if name not in config_lib.FREE
            and not _is_same(name, before.get(name), now.get(name), folder)
        ]
        if differing:
            raise ValueError(
                f"{self} holds a run of other flags: {'; '.join(differing)}. Give "
                "the same flags to continue it, or another --run_dir."
            )


def _is_same(name: str, before: Any, now: Any, folder: str) -> bool:
    """Whether a flag has kept its value; a path may be spelled in another way."""
    if before == now or name not in config_lib.PATHS or not (before and now):
        return before == now
    if isinstance(now, str):
        return given_paths.is_same(before, now, folder)
    return len(before) == len(now) and all(
        given_paths.is_same(*paths, folder) for paths in zip(before, now, strict=True)
    )


def exclusive_lock(
    config: Config, writes: bool = True
) -> contextlib.AbstractContextManager[None]:
    """Returns a context that keeps other processes out of a run's folder.

    The workers of one run are one process here: the one that writes.

    Raises:
        InUseError: With the other's host, process and start.
    """
    return (
        exclusive.exclusive_lock(config.run.folder)
        if writes
        else contextlib.nullcontext()
    )
