"""Writes and reads the pairs of a run as CSV, for others to check and to use."""

import csv
import functools
import io
import os
from collections.abc import Iterable

import numpy as np

from kd_keras.data.csv_table import read_table
from kd_keras.data.pairs import SAME_S
from kd_keras.data.segments import TRAIN, Clip, Index, Pair
from kd_keras.data.video.frame_times import frame_indices, median_spacing

_CLIPS = ("observed_start", "observed_end", "future_start", "future_end")
UNLABELED_COLUMNS = ("video", *_CLIPS, "rule", "seed")
LABELED_COLUMNS = ("uid", "video", "label", *_CLIPS, "padded", "frames")

# The rule of a pair at a segment that has no label, or whose label is withheld.
SEGMENT = "segment"


def format_unlabeled(pairs: Iterable[Pair], rule: str | None, seed: int) -> str:
    """Returns the CSV of unlabeled pairs: times in seconds, rule and seed.

    Args:
        rule: As in `unlabeled_pairs`; a pair at a segment without a label has the rule
            `segment`.
        seed: Of the draw.
    """
    return _format(
        UNLABELED_COLUMNS,
        (
            (pair.future.video, *_times(pair), SEGMENT if pair.uid else rule, seed)
            for pair in pairs
        ),
    )


def format_labeled(
    pairs: Iterable[Pair], index: Index, num_frames: int, short_clip: str = "resample"
) -> str:
    """Returns the CSV of labeled pairs, with the names of their segments and frames.

    `padded` is "yes" if the observed clip begins before the video's first frame, which
    is then repeated. `frames` lists the numbers of the observed clip's frames, as image
    folders number them: the first frame of the video is 1. It is empty for a video file
    that was not opened yet.

    Args:
        index: Of the data set.
        num_frames: Of the observed clip.
        short_clip: As in `frame_indices`.
    """

    times_of = functools.cache(functools.partial(_frame_times, index))

    def row(pair):
        clip = pair.observed
        return (
            pair.uid,
            clip.video,
            index.classes[pair.label],
            *_times(pair),
            "yes" if _is_padded(clip, index) else "no",
            _frames(clip, *times_of(clip.video), num_frames, short_clip),
        )

    return _format(LABELED_COLUMNS, map(row, pairs))


def read_unlabeled(path: str | os.PathLike, index: Index) -> list[Pair]:
    """Returns the pairs of a list in the format of `format_unlabeled`.

    Raises:
        ValueError: If the list holds something else, a clip of which nothing is in the
            footage of a training video, or one that shows what comes after its future.
    """

    def parse(line, row):
        if row["video"] not in index.videos:
            raise ValueError(f"video {row['video']!r} is none of this data set")
        part = index.videos[row["video"]].part
        if part != TRAIN:
            raise ValueError(
                f"video {row['video']} belongs to {part}, and evaluation asks for it; "
                "unlabeled pairs come from training videos alone"
            )
        pair = _pair(row)
        _refuse_outside(pair, index.durations_s[row["video"]])
        return pair

    columns = UNLABELED_COLUMNS[: -len(("rule", "seed"))]
    return read_table(path, columns, parse)


def _format(columns, rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _times(pair):
    return (
        pair.observed.start_s,
        pair.observed.end_s,
        pair.future.start_s,
        pair.future.end_s,
    )


def _is_padded(clip, index):
    return clip.start_s < index.begins_s(clip.video) - SAME_S


def _frame_times(index, name):
    """The times of a video's frames, its duration, and the time between frames."""
    video, duration_s = index.videos[name], index.durations_s[name]
    if name in index.infos:
        times_s = index.infos[name].times_s
    elif video.frame_rate is not None:
        times_s = np.arange(round(duration_s * video.frame_rate)) / video.frame_rate
    else:
        return None, duration_s, 0.0
    return times_s, duration_s, median_spacing(times_s)


def _frames(clip, times_s, duration_s, spacing_s, num_frames, short_clip):
    if times_s is None:
        return ""
    chosen = frame_indices(
        times_s,
        duration_s,
        clip.start_s,
        clip.end_s,
        num_frames,
        short_clip,
        spacing_s=spacing_s,
    )
    return " ".join(map(str, chosen + 1))


def _pair(row):
    times_s = []
    for column in _CLIPS:
        try:
            times_s.append(float(row[column]))
        except ValueError:
            times_s.append(float("nan"))
        if not abs(times_s[-1]) < float("inf"):
            raise ValueError(f"{column} {row[column]!r} is not a number of seconds")
    observed, future = (
        Clip(row["video"], *times_s[:2]),
        Clip(row["video"], *times_s[2:]),
    )
    for name, clip in (("observed", observed), ("future", future)):
        if clip.end_s <= clip.start_s:
            raise ValueError(f"{name}_end is not after {name}_start")
    if observed.end_s > future.end_s + SAME_S:
        raise ValueError(
            f"observed_end {observed.end_s:g} is after future_end {future.end_s:g}; "
            "the student sees what comes before"
        )
    return Pair(observed, future, None)


def _refuse_outside(pair, duration_s):
    """What lies before a video is padded, if some of the future clip is in it."""
    for name, clip in (("observed", pair.observed), ("future", pair.future)):
        if clip.start_s >= duration_s:
            raise ValueError(
                f"{name}_start {clip.start_s:g} is beyond the end of video "
                f"{clip.video}, which lasts {duration_s:.3f} s"
            )
    if pair.future.end_s <= 0:
        raise ValueError(
            f"future_end {pair.future.end_s:g} is before video {pair.future.video} "
            "begins, at 0 s"
        )
