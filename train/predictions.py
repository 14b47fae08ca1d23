"""What every network of a run said of every evaluated clip, as a run keeps it.

NumPy alone reads the file `predictions.npz`. It holds `labels`, `videos`, `clusters`,
`times_s` (start and end of the observed clip, then of the future clip), and the logits
of each network under its name: `teacher.future`, `teacher.observed` or
`students.<method>`.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from kd_keras.aside import written_aside
from kd_keras.data.kept_arrays import NPZ_ERRORS
from kd_keras.data.segments import Index, Pair

FILE = "predictions.npz"

TEACHER_FUTURE, TEACHER_OBSERVED = "teacher.future", "teacher.observed"
_STUDENTS = "students."
_LABELS, _VIDEOS, _TIMES = "labels", "videos", "times_s"
_CLUSTERS = "clusters"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Logits of the networks of a run for its evaluated clips.

    Attributes:
        labels: True class indices (clips,).
        videos: Names of the clips' videos (clips,).
        clusters: `Video.cluster` of each (clips,): intervals draw whole clusters,
            because their clips resemble each other.
        times_s: Start and end of the observed clip and of the future clip, in seconds
            (clips, 4).
        logits: By network, (clips, classes), the mean over the test-time crops.
    """

    labels: np.ndarray
    videos: np.ndarray
    clusters: np.ndarray
    times_s: np.ndarray
    logits: dict[str, np.ndarray]

    @property
    def methods(self) -> list[str]:
        """The methods of the students."""
        return [
            name.removeprefix(_STUDENTS)
            for name in self.logits
            if name.startswith(_STUDENTS)
        ]

    def hits(self, name: str) -> np.ndarray:
        """Returns which clips a network is right about, as 0 or 1 (clips,)."""
        return (self.logits[name].argmax(1) == self.labels).astype(int)

    def has_clips_of(self, other: "Predictions") -> bool:
        """Returns whether another run evaluates the same clips in the same order."""
        return (
            np.array_equal(self.labels, other.labels)
            and np.array_equal(self.videos, other.videos)
            and np.array_equal(self.times_s, other.times_s)
        )


def of_student(method: str) -> str:
    """Returns the name of a student's logits."""
    return f"{_STUDENTS}{method}"


def of_pairs(
    index: Index, pairs: Sequence[Pair], logits: Mapping[str, np.ndarray]
) -> Predictions:
    """Returns the `Predictions` for some pairs.

    Args:
        index: With their videos.
        pairs: The labeled pairs, in the order of the logits.
        logits: By network.
    """
    times_s = [
        (p.observed.start_s, p.observed.end_s, p.future.start_s, p.future.end_s)
        for p in pairs
    ]
    return Predictions(
        labels=np.array([pair.label for pair in pairs], np.int64),
        videos=np.array([pair.future.video for pair in pairs]),
        clusters=np.array([index.videos[p.future.video].cluster for p in pairs]),
        times_s=np.array(times_s, np.float64),
        logits=dict(logits),
    )


def write(path: str | os.PathLike, predictions: Predictions) -> None:
    """Writes a file at once or not at all."""
    arrays = {
        _LABELS: predictions.labels,
        _VIDEOS: predictions.videos,
        _CLUSTERS: predictions.clusters,
        _TIMES: predictions.times_s,
        **predictions.logits,
    }
    with written_aside(path) as aside, open(aside, "wb") as file:
        np.savez_compressed(file, **arrays)


def read(path: str | os.PathLike) -> Predictions:
    """Reads a file; runs nothing that is in it.

    Raises:
        ValueError: If it is damaged or no file of predictions, or a network said NaN or
            infinity.
    """
    path = pathlib.Path(path)
    try:
        # NumPy leaves a file open that it opened and could not read.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        labels, videos, times_s = map(arrays.pop, (_LABELS, _VIDEOS, _TIMES))
        # Files of earlier releases have none.
        clusters = arrays.pop(_CLUSTERS, videos)
    except (KeyError, *NPZ_ERRORS) as error:
        raise ValueError(
            f"{path} is no file of predictions or is damaged ({error}). Evaluate the "
            "run again to make it anew: the same command with --task=evaluate."
        ) from error
    lost = {
        name: int(np.sum(~np.isfinite(logits).all(1)))
        for name, logits in arrays.items()
    }
    if any(lost.values()):
        counts = ", ".join(f"{name} of {n}" for name, n in lost.items() if n)
        raise ValueError(
            f"Networks of {path} said NaN or infinity of some of the {len(labels)} "
            f"clips, which has no score: {counts}. Train those networks again."
        )
    return Predictions(labels, videos, clusters, times_s, arrays)
