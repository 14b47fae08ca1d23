"""A student of a finished run, and the clips that it sees."""

import base64
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kd_keras.data.clips.views import normalize
from train import networks
from train.finished_run import FinishedRun
from train.predictions import Predictions
from train.report import correspondence, examples, strips
from train.report.correspondence import Correspondence, Grid


class StudentView:
    """A student of a run, and what it sees.

    Args:
        run: The `FinishedRun`.
        predictions: Its `Predictions`.
        name: Name of the student among them.
        student: The student.
    """

    def __init__(
        self,
        run: FinishedRun,
        predictions: Predictions,
        name: str,
        student: keras.Model,
    ) -> None:
        self.run, self.student = run, student
        self._predictions, self._name = predictions, name
        flow_scale = run.data.loader.clip_format.flow_scale
        self._normalize = functools.partial(normalize, flow_scale=flow_scale)
        self._pairs = {
            (p.future.video, p.observed.start_s, p.future.start_s, p.future.end_s): p
            for p in run.data.evaluated
        }

    def layers(self, teacher: keras.Model | None = None) -> tuple[str, ...]:
        """The layers whose maps are compared, in the student and in the teacher."""
        config = self.run.config
        [first, *_] = networks.student_feature_layers(config, self.student)
        if teacher is None:
            return (first,)
        [other, *_] = networks.teacher_feature_layers(config, self.student, teacher)
        return first, other

    def examples(
        self, chosen: Mapping[str, Sequence[int]]
    ) -> dict[str, list[dict[str, Any]]]:
        """What the page shows of the chosen clips, by what they are examples of."""
        [layer] = self.layers()
        return {
            kind: [
                examples.describe(
                    self._predictions,
                    position,
                    self._name,
                    self.run.data.index.classes,
                    self._clips(position),
                    self.student,
                    layer,
                    self._normalize,
                )
                for position in positions
            ]
            for kind, positions in chosen.items()
        }

    def correspondence(
        self, position: int, teacher: keras.Model, layers: Sequence[str]
    ) -> Correspondence:
        """The `Correspondence` of the clip at a position."""
        observed, future = self._clips(position)
        return correspondence.attend(
            self.student,
            teacher,
            layers,
            self.run.config.distillation.alpha,
            observed,
            future,
            self._normalize,
        )

    def caption(self, position: int, classes: Sequence[str]) -> str:
        """What is said of the clip at a position."""
        label = self._predictions.labels[position]
        return (
            f"Evaluated clip {position}: {classes[label]}, "
            f"{self._predictions.videos[position]}"
        )

    def values(self, found: Correspondence, cell: int, position: int) -> dict[str, Any]:
        """What the page's script shows of a `Correspondence`."""
        times_s = self._predictions.times_s[position]
        return {
            "observed": _side(found.observed, found.observed_grid, times_s[:2]),
            "future": _side(found.future, found.future_grid, times_s[2:]),
            "forward": _as_text(found.forward),
            "forward_highest": found.forward.max(1).round(6).tolist(),
            "backward": _as_text(found.backward),
            "backward_highest": found.backward.max(1).round(6).tolist(),
            "strongest": cell,
        }

    def _clips(self, position: int) -> list[np.ndarray]:
        video = self._predictions.videos[position]
        times_s = self._predictions.times_s[position]
        key = (str(video), *(float(times_s[place]) for place in (0, 2, 3)))
        if key not in self._pairs:
            raise ValueError(f"the data set no longer has the clip {key}.")
        return examples.clips_of(self.run, self._pairs[key])


def _side(clip: np.ndarray, grid: Grid, interval_s: np.ndarray) -> dict[str, Any]:
    start_s, end_s = map(float, interval_s)
    middles = (np.arange(grid[0]) + 0.5) / grid[0]
    frames = clip[(middles * len(clip)).astype(int)]
    return {
        "grid": list(grid),
        "aspect": clip.shape[2] / clip.shape[1],
        "times_s": (start_s + middles * (end_s - start_s)).round(3).tolist(),
        "strip": strips.data_uri(frames),
    }


def _as_text(weights: np.ndarray) -> str:
    """Each row as bytes, 255 for its highest weight alone, in base 64."""
    # The page's script looks for 255, which rounding would give to others as well.
    shares = (255 * (weights / weights.max(1, keepdims=True))).astype(np.uint8)
    return base64.b64encode(shares.tobytes()).decode()
