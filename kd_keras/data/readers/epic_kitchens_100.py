"""Reads EPIC-KITCHENS-100: 76,885 labeled actions in 633 videos of 37 kitchens."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Literal

from kd_keras.data.readers import epic_annotations
from kd_keras.data.readers.epic_annotations import Release
from kd_keras.data.readers.release import compare_with_published
from kd_keras.data.segments import TRAIN, VAL, Index

# Frames per second of the released frames. Videos that EPIC-KITCHENS-55 has already
# have two digits after the participant. Those that came later have three.
FRAME_RATE, LATER_FRAME_RATE = 60.0, 50.0
NUM_SEGMENTS = {TRAIN: 67217, VAL: 9668}
NUM_CLASSES = {"verb": 97, "noun": 300}

RELEASE = Release(
    name="EPIC-KITCHENS-100",
    folders=(".", "annotations", "epic-kitchens-100-annotations"),
    classes="EPIC_100_{}_classes.csv",
    class_number="id",
    class_name="key",
    uid="narration_id",
    video_info="EPIC_100_video_info.csv",
    video="video_id",
    tests={"test": "EPIC_100_test_timestamps.csv"},
    version="0.2",
)
LABELS = {TRAIN: "EPIC_100_train.csv", VAL: "EPIC_100_validation.csv"}


def read_epic_kitchens_100(
    data_root: str | os.PathLike,
    target: Literal["verb", "noun", "action"] = "verb",
    frame_rate: float | None = None,
    max_bad_videos: float = 0.01,
    progress: bool = True,
) -> Index:
    """Reads the annotations and looks for the videos, without opening them.

    `data_root` holds, in itself or in `annotations`, the release's
    `EPIC_100_train.csv`, `EPIC_100_validation.csv`, `EPIC_100_video_info.csv` and
    `EPIC_100_{verb,noun}_classes.csv`; and somewhere below itself, of each annotated
    video, a folder of frames `P01_101`, a tar of frames `P01_101.tar` or the video
    `P01_101.MP4` (the release's `P01/rgb_frames/P01_101.tar` and
    `P01/videos/P01_101.MP4`). Folders called `flow` or `flow_frames` are passed over. A
    video that `EPIC_100_video_info.csv` does not list is opened for its duration.

    Columns are found by name. No segment is dropped. Actions are the pairs of a verb
    and a noun that the two files have. A pair that validation alone has is a class
    that no network can learn, so a network is wrong about it, as in the challenge.

    Args:
        data_root: Folder into which the release was unpacked.
        target: What a label is: the class of the verb, of the (first) noun, or the
            pair of both.
        frame_rate: Frames per second of the frames in folders and tars. None is as
            released: 60, and 50 of the videos that EPIC-KITCHENS-55 does not have.
        max_bad_videos: Fraction of the videos that may be missing or unreadable (one
            always may; 0 allows none).
        progress: Print a line to stderr now and then while videos are opened.
    Raises:
        ValueError: If a file is missing or holds something else, or too many videos
            are missing; the message names the file, the line and what to do.
    """
    data_root = pathlib.Path(data_root)
    if frame_rate is not None and not 0 < frame_rate < float("inf"):
        raise ValueError(f"frame_rate must be above 0 per second. Got {frame_rate}.")
    folder = epic_annotations.find_folder(data_root, RELEASE, LABELS[VAL])
    vocabulary = epic_annotations.read_vocabulary(folder, RELEASE, target)
    rows = {
        part: epic_annotations.read_rows(
            folder / file, RELEASE.uid, vocabulary.num_classes
        )
        for part, file in LABELS.items()
    }
    parts = _parts(folder, rows)
    found = epic_annotations.open_videos(
        RELEASE,
        folder,
        data_root,
        parts,
        frame_rates(parts, frame_rate),
        max_bad_videos,
        progress,
    )
    segments = [
        segment
        for part, members in rows.items()
        for segment in epic_annotations.segments(
            folder / LABELS[part], members, found, vocabulary
        )
    ]
    index = dataclasses.replace(
        found,
        classes=vocabulary.classes([*rows[TRAIN], *rows[VAL]]),
        segments=tuple(segments),
    )
    compare_with_published(RELEASE.name, index, NUM_SEGMENTS)
    return index


def frame_rates(videos: Iterable[str], frame_rate: float | None) -> dict[str, float]:
    """Returns the rates of the frames in folders and tars; None is as released."""
    return {video: float(frame_rate or _released_rate(video)) for video in videos}


def _parts(folder, rows):
    parts = {}
    for part, members in rows.items():
        for row in members:
            if parts.setdefault(row.video, part) != part:
                raise ValueError(
                    f"{folder / LABELS[part]}, line {row.line}: video {row.video} is "
                    f"in {LABELS[parts[row.video]]}, too. Take the release's files."
                )
    return parts


def _released_rate(video):
    return LATER_FRAME_RATE if re.search(r"_\d{3}$", video) else FRAME_RATE
