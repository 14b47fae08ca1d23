"""The clips that a report shows: the best, the worst, and those distillation won."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kd_keras import statistics
from kd_keras.data.clips.views import evaluated
from kd_keras.data.segments import Pair
from kd_keras.data.video.info import BadVideo
from train.finished_run import FinishedRun
from train.predictions import Predictions
from train.report.activation import class_activation, overlay
from train.report.strips import data_uri

_MOST_OF_A_KIND = 4
_NUM_CORRESPONDENCES = 3


def choose(
    predictions: Predictions, student: str, baseline: str | None = None
) -> dict[str, list[int]]:
    """Returns the positions of clips to show, by what they are examples of.

    Args:
        predictions: The run's `Predictions`.
        student: Name of the student that is shown.
        baseline: Name of the student from labels alone, or None.
    """
    chances = statistics.softmax(predictions.logits[student])
    of_truth = chances[np.arange(len(chances)), predictions.labels]
    hits = predictions.hits(student).astype(bool)
    order = np.argsort(-of_truth, kind="stable")
    groups = {
        "best": [i for i in order if hits[i]],
        "worst": [i for i in order[::-1] if not hits[i]],
    }
    if baseline is not None:
        missed = ~predictions.hits(baseline).astype(bool)
        groups["won"] = [i for i in order if hits[i] and missed[i]]
    return {
        kind: [int(i) for i in members[:_MOST_OF_A_KIND]]
        for kind, members in groups.items()
    }


def picked(
    chosen: Mapping[str, Sequence[int]], clip: int | None, count: int
) -> list[int]:
    """Returns the positions of the clips whose correspondence is shown.

    Args:
        chosen: What `choose` returned; those that were won come first.
        clip: The position that is asked for, or None.
        count: Number of evaluated clips.
    Raises:
        ValueError: If there is no such clip.
    """
    if clip is None:
        positions = dict.fromkeys([*chosen.get("won", ()), *chosen["best"]])
        return list(positions)[:_NUM_CORRESPONDENCES]
    if not 0 <= clip < count:
        raise ValueError(
            f"--clip={clip} is none of the {count} evaluated clips, which are numbered "
            f"from 0 to {count - 1}."
        )
    return [clip]


def clips_of(run: FinishedRun, pair: Pair) -> list[np.ndarray]:
    """Returns the observed and the future clip of a pair as an evaluation sees them.

    Args:
        run: The `FinishedRun`.
        pair: The `Pair`.
    Raises:
        ValueError: If the video can no longer be read.
    """
    loader = run.data.loader
    try:
        clips = [loader.load(clip) for clip in (pair.observed, pair.future)]
    except BadVideo as error:
        raise ValueError(f"{pair.observed.video} cannot be read: {error}") from error
    return [evaluated(clip, loader.clip_format) for clip in clips]


def describe(
    predictions: Predictions,
    position: int,
    student: str,
    classes: Sequence[str],
    clips: Sequence[np.ndarray],
    model: keras.Model,
    layer: str,
    normalize: Callable[[np.ndarray], tf.Tensor],
) -> dict[str, Any]:
    """Returns what the page shows of one clip.

    Args:
        predictions: The run's `Predictions`.
        position: Of the clip.
        student: Name of the student.
        classes: Class names.
        clips: Its observed and its future clip.
        model: The student.
        layer: The layer whose map the class activation is of.
        normalize: Turns clips into the network's input.
    """
    observed, future = clips
    chances = statistics.softmax(predictions.logits[student][position])
    named = int(chances.argmax())
    label = int(predictions.labels[position])
    activation = class_activation(model, layer, normalize(observed[None]), [named])[0]
    times_s = predictions.times_s[position]
    height, width = observed.shape[1:3]
    return {
        "video": str(predictions.videos[position]),
        "starts_s": float(times_s[2]),
        "lead_time_s": float(times_s[2] - times_s[1]),
        "truth": classes[label],
        "named": classes[named],
        "right": named == label,
        "confidence": float(chances[named]),
        "of_truth": float(chances[label]),
        "num_frames": len(observed),
        "aspect": width / height,
        "loops": [
            ("observed", data_uri(observed), float(times_s[1] - times_s[0])),
            (
                "class activation",
                data_uri(overlay(observed, activation)),
                float(times_s[1] - times_s[0]),
            ),
            ("future", data_uri(future), float(times_s[3] - times_s[2])),
        ],
    }
