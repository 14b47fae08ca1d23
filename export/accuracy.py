"""What a lower precision costs: accuracy on validation clips, before and after.

The clips come from the run that trained the student. A process of `train` reads them,
because the export knows nothing of data sets.
"""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from export.student_file import run_directory
from kd_keras import console

# More are not needed to see a change, and take long on a CPU.
MAX_CLIPS = 1000

Batches = Iterable[tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class AccuracyChange:
    """Top-1 accuracy on the same clips, before and after a lower precision.

    Attributes:
        precision: The lower one, as `bfloat16`.
        num_clips: How many clips there were.
        before, after: Fractions of the clips that were answered right.
        agreement: Fraction of the clips that both answered alike, right or wrong.
    """

    precision: str
    num_clips: int
    before: float
    after: float
    agreement: float

    @property
    def drop(self) -> float:
        """A fraction of the clips, negative if the lower precision is better."""
        # Of counts: 0.8 - 0.7 is more than 0.1.
        return round((self.before - self.after) * self.num_clips) / self.num_clips

    def __str__(self):
        return (
            f"top-1 accuracy on {self.num_clips} validation clips is {self.after:.4f}, "
            f"and {self.before:.4f} before; {self.agreement:.4f} of the answers agree"
        )


def measure(
    precision: str,
    batches: Batches,
    before: Callable[[np.ndarray], np.ndarray],
    after: Callable[[np.ndarray], np.ndarray],
) -> AccuracyChange:
    """Compares two networks on batches of (clips, labels), each read once.

    Args:
        before, after: Map clips to scores (batch, classes).
    """
    rows = [
        np.stack([labels, *(np.argmax(ask(clips), axis=1) for ask in (before, after))])
        for clips, labels in batches
    ]
    labels, one, other = np.concatenate(rows, axis=1)
    return AccuracyChange(
        precision=precision,
        num_clips=len(labels),
        before=float(np.mean(one == labels)),
        after=float(np.mean(other == labels)),
        agreement=float(np.mean(one == other)),
    )


def require_small(change: AccuracyChange, most: float) -> None:
    """Raises a ValueError if accuracy drops by more than `most`, a fraction."""
    if change.drop > most:
        raise ValueError(
            f"--precision={change.precision} costs too much: {change}. That is a drop "
            f"of {change.drop:.4f}, and --max_accuracy_drop={most:g}. Nothing is "
            "written."
        )


def clips_of_run(
    student: str | os.PathLike, part: str, count: int = MAX_CLIPS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (clips, labels) of the run that trained a student.

    Args:
        part: `training` or `validation`.
        count: Number of clips at most.
    Raises:
        ValueError: If the file lies in no run, or the run has no such clips.
    """
    folder = run_directory(student)
    if folder is None or not (folder / "run.flags").is_file():
        raise ValueError(
            f"A lower precision is measured on the {part} clips of the student's run, "
            f"and {os.fspath(student)} is not in the folder of a run, which has "
            "run.flags and results.json. Give RUN_DIR/student.keras, or "
            "--precision=float32."
        )
    home = str(pathlib.Path(__file__).parents[1])
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "train.clip_stream", folder, part, str(count)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=said,
            env=os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "-1"},
        ) as process,
    ):
        # NumPy would look for the place in a file, and a pipe has none.
        stream = types.SimpleNamespace(read=process.stdout.read)
        try:
            while process.stdout.peek(1):
                try:
                    clips = np.lib.format.read_array(stream, allow_pickle=False)
                    labels = np.lib.format.read_array(stream, allow_pickle=False)
                except ValueError:
                    # It ends in the middle of an array; the process says why.
                    break
                yield clips, labels
            process.wait()
        finally:
            # What asks may have had enough, or have failed.
            process.kill()
        if process.returncode != 0:
            said.seek(0)
            reason = console.quieted(said.read()).strip()[-2000:]
            raise ValueError(f"The {part} clips of {folder} cannot be read: {reason}")
