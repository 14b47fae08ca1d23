"""A long video: what happened, what was anticipated, and how long before."""

import collections
import pathlib
from collections.abc import Sequence
from typing import TypeAlias

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes

from export.anticipation import Anticipation, anticipations
from export.student_file import ExportSpec
from kd_keras import lettering
from kd_keras.data.clips.views import as_input, evaluated
from kd_keras.data.segments import Index
from kd_keras.data.video.info import Video, VideoInfo
from kd_keras.visualise import PALETTE
from train.data import RunData

_RIGHT, _WRONG, _OTHER = PALETTE[0], PALETTE[4], "#BBBBBB"
# A video gives about so many anticipations.
_MOST = 160
_LEAST_STEP_S = 0.1
# Narrower bars, in fractions of the video, hold no name.
_NAMED = 0.03

# Start and end in seconds, and the name of the class; a span also has a probability.
Action: TypeAlias = tuple[float, float, str]
Span: TypeAlias = tuple[float, float, str, float]


def longest_video(data: RunData) -> str:
    """Returns the evaluated video with the most actions, the longest of several.

    Args:
        data: The run's `RunData`.
    """
    counts = collections.Counter(pair.future.video for pair in data.evaluated)
    readable = [name for name in counts if name not in data.loader.bad_videos]
    if not readable:
        raise ValueError("No evaluated video can be read.")
    durations = data.index.durations_s
    return max(readable, key=lambda name: (counts[name], durations[name]))


def actions(index: Index, video: str) -> list[Action]:
    """Returns (start_s, end_s, class name) of the labeled actions of a video, in order.

    Args:
        index: The `Index` with every label.
    """
    return sorted(
        (segment.start_s, segment.end_s, segment.label)
        for segment in index.segments
        if segment.video == video and segment.label is not None
    )


def anticipate(
    student: keras.Model, spec: ExportSpec, video: Video, info: VideoInfo
) -> list[Anticipation]:
    """Returns the `Anticipation`s all along a video.

    Args:
        student: Network from clips to logits.
        spec: Its `ExportSpec`; the length of its observed clip is known.
        video: The `Video`.
        info: Its `VideoInfo`.
    """

    clip_format = spec.clip_format

    def predict(clips: np.ndarray) -> np.ndarray:
        seen = np.stack([evaluated(clip, clip_format) for clip in clips])
        logits = student(as_input(seen, clip_format), training=False)
        return tf.nn.softmax(logits).numpy()

    every_s = max(info.duration_s / _MOST, _LEAST_STEP_S)
    return list(anticipations(predict, spec, video, info, every_s))


def spans(found: Sequence[Anticipation]) -> list[Span]:
    """Joins anticipations that follow each other and name the same class.

    Args:
        found: `Anticipation`s in order, with the times that they speak of.
    Returns:
        (start_s, end_s, class name, mean probability) of each; the times are those of
        the anticipated action, so they lie a lead time after the observed clip.
    """
    joined: list[list] = []
    starts_s = [_happens_s(item) for item in found]
    step_s = starts_s[1] - starts_s[0] if len(found) > 1 else 0.5
    for item, start_s in zip(found, starts_s, strict=True):
        name, probability = item.classes[0], item.probabilities[0]
        if joined and joined[-1][2] == name:
            joined[-1][1] = start_s + step_s
            joined[-1][3].append(probability)
        else:
            joined.append([start_s, start_s + step_s, name, [probability]])
    return [(*span[:3], float(np.mean(span[3]))) for span in joined]


def _happens_s(item: Anticipation) -> float:
    if item.happens_s is None:
        raise ValueError("The student does not know when what it anticipates starts.")
    return item.happens_s


def judge(span: Span, truth: Sequence[Action]) -> bool | None:
    """Returns whether a span is right: True, False, or None if no action starts in it.

    It is right if every action that starts between its ends is of the class it names.
    """
    started = [name for start_s, _, name in truth if span[0] <= start_s < span[1]]
    return None if not started else {*started} == {span[2]}


def draw(
    truth: Sequence[Action],
    found: Sequence[Anticipation],
    lead_time_s: float,
    duration_s: float,
    path: pathlib.Path,
) -> None:
    """Draws the true actions above the anticipated ones, along the video.

    Args:
        truth: What `actions` returned.
        found: What `anticipate` returned.
        lead_time_s: From what was seen to the action.
        duration_s: Of the video.
        path: File to write.
    """
    names = [name for *_, name in truth] + [item.classes[0] for item in found]
    family = lettering.families(names)
    figure, (above, below) = plt.subplots(
        2,
        1,
        figsize=(12, 4.2),
        sharex=True,
        layout="constrained",
        height_ratios=(2, 1),
    )
    for start_s, end_s, name in truth:
        _bar(above, 1, start_s, end_s, name, _OTHER, duration_s, family)
        above.plot([start_s] * 2, [-0.4, 1.4], color="black", linewidth=0.6, zorder=3)
    colors = {True: _RIGHT, False: _WRONG, None: "#EEEEEE"}
    for span in spans(found):
        start_s, end_s, name = span[0], min(span[1], duration_s), span[2]
        color = colors[judge(span, truth)]
        _bar(above, 0, start_s, end_s, name, color, duration_s, family)
    _draw_lead_time(above, found[0].time_s, lead_time_s)
    above.set_yticks([1, 0], ["truth", "anticipated"])
    above.set_ylim(-0.85, 1.5)
    above.set_ylabel("action")
    below.plot(
        [_happens_s(item) for item in found],
        [item.probabilities[0] for item in found],
        color=PALETTE[0],
    )
    below.set_ylim(0, 1.02)
    below.set_ylabel("confidence\n(probability)")
    below.set_xlabel("time in the video (s)")
    below.set_xlim(0, duration_s)
    handles = [
        plt.Rectangle((0, 0), 1, 1, color=color, label=text)
        for color, text in (
            (_RIGHT, "right: this action starts here"),
            (_WRONG, "wrong: another action starts here"),
            ("#EEEEEE", "no action starts here"),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def _draw_lead_time(axis: Axes, start_s: float, lead_time_s: float) -> None:
    """An arrow from what the first anticipation saw to what it speaks of."""
    end_s, height = start_s + lead_time_s, -0.62
    arrow = {"arrowstyle": "->", "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", (end_s, height), (start_s, height), arrowprops=arrow)
    text = f"  lead time {lead_time_s:g} s: from what is seen to what it speaks of"
    axis.text(end_s, height, text, va="center", fontsize=8)


def _bar(
    axis: Axes,
    row: int,
    start_s: float,
    end_s: float,
    name: str,
    color: str,
    duration_s: float,
    family: Sequence[str],
) -> None:
    axis.barh(
        row, end_s - start_s, left=start_s, height=0.7, color=color, edgecolor="w"
    )
    if end_s - start_s > _NAMED * duration_s:
        axis.text(
            (start_s + end_s) / 2,
            row,
            lettering.readable(name),
            ha="center",
            va="center",
            fontsize=6.5,
            family=family,
            rotation=90,
            color="white" if color in (_RIGHT, _WRONG) else "black",
        )
