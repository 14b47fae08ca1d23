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
from kd_keras.data.video.frame_times import frame_indices

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

    @functools.cache
    def times_s(name):
        if name in index.infos:
            return index.infos[name].times_s
        frame_rate = index.videos[name].frame_rate
        if frame_rate is None:
            return None
        return np.arange(round(index.durations_s[name] * frame_rate)) / frame_rate

    return _format(
        LABELED_COLUMNS,
        (
            (
                pair.uid,
                pair.future.video,
                index.classes[pair.label],
                *_times(pair),
                "yes" if _is_padded(pair.observed, index) else "no",
                _frames(
                    pair.observed, times_s(pair.future.video), num_frames, short_clip
                ),
            )
            for pair in pairs
        ),
    )


def read_unlabeled(path: str | os.PathLike, index: Index) -> list[Pair]:
    """Returns the pairs of a list in the format of `format_unlabeled`.

    Raises:
        ValueError: If the list holds something else, or a clip that is not in the
            footage of a training video.
    """

    def parse(line, row):
        pair = _pair(row, None)
        part = index.videos[pair.future.video].part
        if part != TRAIN:
            raise ValueError(
                f"video {pair.future.video} belongs to {part}, and evaluation asks for "
                "it; unlabeled pairs come from training videos alone"
            )
        return pair

    columns = UNLABELED_COLUMNS[: -len(("rule", "seed"))]
    return read_table(path, columns, _known_videos(parse, index))


def read_labeled(path: str | os.PathLike, index: Index) -> list[Pair]:
    """Returns the pairs of a list in the format of `format_labeled`.

    Raises:
        ValueError: If the list holds something else, or a video or a label that the
            index does not know.
    """
    labels = {name: number for number, name in enumerate(index.classes)}

    def parse(line, row):
        if row["label"] not in labels:
            raise ValueError(f"{row['label']!r} is no class of this data set")
        return _pair(row, labels[row["label"]], row["uid"])

    columns = ("uid", "video", "label", *_CLIPS)
    return read_table(path, columns, _known_videos(parse, index))


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


def _frames(clip, times_s, num_frames, short_clip):
    """The numbers of the frames, computed from the frames around the clip only."""
    if times_s is None:
        return ""
    first, end = np.searchsorted(times_s, (clip.start_s, clip.end_s))
    first, end = max(first - 2, 0), max(end + 2, 2)
    times_s = times_s[first:end]
    chosen = frame_indices(
        times_s - times_s[0],
        times_s[-1] - times_s[0],
        clip.start_s - times_s[0],
        clip.end_s - times_s[0],
        num_frames,
        short_clip,
    )
    return " ".join(map(str, chosen + first + 1))


def _known_videos(parse, index):
    def check(line, row):
        if row["video"] not in index.videos:
            raise ValueError(f"video {row['video']!r} is none of this data set")
        return parse(line, row)

    return check


def _pair(row, label, uid=""):
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
    return Pair(observed, future, label, uid)
