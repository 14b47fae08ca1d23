"""Checkpoints of a phase: each is written aside and renamed, and the last are kept."""

import os
import pathlib
import shutil
import uuid
from collections.abc import Mapping

import tensorflow as tf

from kd_keras.models.plain_paths import plain_path
from train.loop.guards import warn

_PREFIX = "step-"
_ASIDE = ".aside-"
_DAMAGED = ".damaged-"
# What TensorFlow raises for files that are cut short, in its Python parts.
_BAD_VALUES = (IndexError, RuntimeError, ValueError)
# Appended to the name if there is a checkpoint of the same step already.
_AGAIN = "+"
_FILE = "state"


class CannotSaveError(OSError):
    """The state cannot be written; what was saved before is kept."""


class Checkpoints:
    """Saves and restores a set of variables, always all of them or none.

    A checkpoint is a folder that gets its name once it is complete, so that a process
    may be killed at any moment.

    Args:
        folder: Holds the checkpoints of one phase.
        variables: Trackable objects by name: lists or dicts of TensorFlow variables.
        keep: How many of the newest are kept, >= 1.
        writes: False in workers that take part in the saving without leaving files.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        variables: Mapping[str, tf.Variable | list | dict],
        keep: int = 2,
        writes: bool = True,
    ) -> None:
        self._folder, self._keep, self._writes = pathlib.Path(folder), keep, writes
        self._checkpoint = tf.train.Checkpoint(**variables)

    def save(self, step: int) -> None:
        """Writes a checkpoint and removes the oldest beyond `keep`.

        Raises:
            CannotSaveError: If it cannot be written, perhaps because the disk is full.
        """
        # Workers in containers may all be process 1.
        aside = self._folder / f"{_ASIDE}{uuid.uuid4().hex[:8]}"
        try:
            aside.mkdir(parents=True, exist_ok=True)
            self._checkpoint.write(str(aside / _FILE))
            if self._writes:
                _flush(aside)
                os.replace(aside, self._free_name(step))
        except (tf.errors.UnavailableError, tf.errors.AbortedError):
            # Another worker is gone, which is not the disk's fault.
            raise
        except (tf.errors.OpError, OSError) as error:
            raise CannotSaveError(
                f"The state at step {step} cannot be saved in {self._folder}: {error}. "
                f"{self._room()}Make room and give the same command again: it "
                f"continues at {self._newest_name()}."
            ) from error
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if self._writes:
            for old in self._complete()[: -self._keep]:
                shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> int:
        """Sets the variables from the newest checkpoint that is whole.

        Returns:
            Its step. Without a checkpoint 0, and the variables stay as they were.
        """
        if self._writes:
            self._remove_unfinished()
        for folder in reversed(self._complete()):
            with plain_path(folder) as plain:
                path = f"{plain}/{_FILE}"
                if not self._is_whole(folder, path):
                    continue
                self._checkpoint.read(path).assert_consumed()
            return _step(folder)
        return 0

    def _is_whole(self, folder: pathlib.Path, path: str) -> bool:
        """Reads all of a checkpoint, which checks its checksums; warns of damage."""
        try:
            reader = tf.train.load_checkpoint(path)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
        except (tf.errors.OpError, OSError, *_BAD_VALUES) as error:
            if self._writes:
                os.replace(folder, folder.with_name(f"{_DAMAGED}{folder.name}"))
            warn(
                f"The checkpoint {folder} is damaged and left out: "
                f"{str(error).splitlines()[0]}"
            )
            return False
        return True

    def _complete(self) -> list[pathlib.Path]:
        return sorted(
            self._folder.glob(f"{_PREFIX}*"), key=lambda f: (_step(f), f.name)
        )

    def _free_name(self, step: int) -> pathlib.Path:
        folder = self._folder / f"{_PREFIX}{step:08d}"
        while folder.exists():
            folder = folder.with_name(folder.name + _AGAIN)
        return folder

    def _newest_name(self) -> str:
        folders = self._complete()
        return f"step {_step(folders[-1])}" if folders else "its start"

    def _room(self) -> str:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return ""
        return f"{free / 1e6:.1f} MB are free there. "

    def _remove_unfinished(self) -> None:
        for left in self._folder.glob(f"{_ASIDE}*"):
            shutil.rmtree(left, ignore_errors=True)


def _step(folder: pathlib.Path) -> int:
    return int(folder.name.removeprefix(_PREFIX).rstrip(_AGAIN))


def _flush(folder: pathlib.Path) -> None:
    """Waits until the files are on disk: a power cut must not leave them empty."""
    for path in [*folder.iterdir(), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
