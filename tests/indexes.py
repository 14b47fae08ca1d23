"""Indexes without videos, made up and of real annotations; tests of pairs use them."""

import csv
import pathlib

import numpy as np
import pytest

from kd_keras.data.segments import Index, Segment
from kd_keras.data.video.info import Video, VideoInfo

CEILING = (
    pathlib.Path(__file__).parents[2] / "shared/data/videos/ceiling_actions"
).resolve()
needs_ceiling = pytest.mark.skipif(
    not CEILING.is_dir(), reason=f"{CEILING} is not there"
)


def make_index(segments, durations_s, val=(), times_s=()):
    """Videos that exist in name alone; those not in `val` are for training."""
    return Index(
        classes=tuple(sorted({s.label for s in segments if s.label is not None})),
        videos={
            name: Video(name, pathlib.Path(name), "val" if name in val else "train")
            for name in durations_s
        },
        durations_s=dict(durations_s),
        segments=tuple(segments),
        bad_videos={},
        infos={
            name: VideoInfo(np.array(times), durations_s[name], height=4, width=4)
            for name, times in dict(times_s).items()
        },
    )


def kitchen():
    """One training video of 30 s, one of validation."""
    return make_index(
        [
            Segment("a", 4.0, 6.0, "wash"),
            Segment("a", 10.0, 14.0, "cut"),
            Segment("a", 13.0, 16.0, "wash"),
            Segment("a", 20.0, 22.0, None),
            Segment("v", 5.0, 6.0, "cut"),
        ],
        {"a": 30.0, "v": 60.0},
        val=["v"],
    )


def ceiling():
    """The real recordings' annotations, without the recordings."""
    with (CEILING / "videos.csv").open(newline="") as file:
        videos = {row["video"]: row for row in csv.DictReader(file)}
    with (CEILING / "annotations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return make_index(
        [
            Segment(r["video"], float(r["start"]), float(r["end"]), r["label"])
            for r in rows
        ],
        {name: float(row["duration"]) for name, row in videos.items()},
        val=[name for name, row in videos.items() if row["split"] == "val"],
    )


def spans(pairs):
    """The times of both clips of each pair."""
    return [
        (p.observed.start_s, p.observed.end_s, p.future.start_s, p.future.end_s)
        for p in pairs
    ]
