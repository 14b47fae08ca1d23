"""Reads EPIC-KITCHENS-55: 28,472 actions in 272 videos of 28 kitchens (Table 3)."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from typing import Literal

from kd_keras.data.csv_table import read_text
from kd_keras.data.readers import epic_annotations
from kd_keras.data.readers.epic_annotations import Release
from kd_keras.data.readers.release import compare_with_published
from kd_keras.data.segments import TRAIN, VAL, Index

# The release's frames were all taken out at this rate, whatever the camera's.
FRAME_RATE = 60.0
# Segments of each split, by part.
NUM_SEGMENTS = {
    "p01_p25": {TRAIN: 23191, VAL: 5281},
    "rulstm": {TRAIN: 23493, VAL: 4979},
}
NUM_CLASSES = {"verb": 125, "noun": 352, "action": 2513}

RELEASE = Release(
    name="EPIC-KITCHENS-55",
    # The release, and repositories that keep its annotations in a folder.
    folders=(".", "annotations", "epic-kitchens-55-annotations"),
    classes="EPIC_{}_classes.csv",
    class_number="{}_id",
    class_name="class_key",
    uid="uid",
    video_info="EPIC_video_info.csv",
    video="video",
    tests={
        "seen": "EPIC_test_s1_timestamps.csv",
        "unseen": "EPIC_test_s2_timestamps.csv",
    },
    version="0.1",
)
LABELS = "EPIC_train_action_labels.csv"

_LAST_TRAINING_PARTICIPANT = 25
_SPLIT_LISTS = {
    TRAIN: "rulstm_split/training_videos.csv",
    VAL: "rulstm_split/validation_videos.csv",
}


def read_epic_kitchens(
    data_root: str | os.PathLike,
    split: Literal["p01_p25", "rulstm"] = "p01_p25",
    target: Literal["verb", "noun", "action"] = "verb",
    frame_rate: float = FRAME_RATE,
    max_bad_videos: float = 0.01,
    progress: bool = True,
) -> Index:
    """Reads the annotations and looks for the videos, without opening them.

    `data_root` holds, in itself or in `annotations`, `EPIC_train_action_labels.csv`,
    `EPIC_video_info.csv` and `EPIC_{verb,noun}_classes.csv`; and somewhere below
    itself, of each annotated video, a folder of frames `P01_01`, a tar of frames
    `P01_01.tar` or the video `P01_01.MP4` (the release's `rgb/train/P01/P01_01.tar`
    and `videos/train/P01/P01_01.MP4`; folders called `flow` or
    `object_detection_images` are passed over). A video that `EPIC_video_info.csv` does
    not list is opened for its duration.

    Splits are by kitchen or by video. Results on them are not comparable. `p01_p25` is
    the paper's: participants P01-P25 train, P26-P31 validate. `rulstm` is by the lists
    of videos in `rulstm_split`. Every class of the release has its place in the head,
    including the few that no training segment shows. No segment is dropped.

    Args:
        data_root: Folder into which the release was unpacked.
        split: `p01_p25` or `rulstm`.
        target: What a label is: the class of the verb, of the (first) noun, or the
            pair of both. The actions are the 2,513 pairs that the file of labels has.
        frame_rate: Frames per second of the frames in folders and tars.
        max_bad_videos: Fraction of the videos that may be missing or unreadable (one
            always may; 0 allows none).
        progress: Print a line to stderr now and then while videos are opened.
    Raises:
        ValueError: If a file is missing or holds something else, or too many videos
            are missing; the message names the file, the line and what to do.
    Examples:
        The table of durations spares the videos from being opened.

        >>> import pathlib
        >>> from kd_keras.data.readers.epic_kitchens import read_epic_kitchens
        >>> tables = {
        ...     "EPIC_train_action_labels.csv": [
        ...         "uid,participant_id,video_id,start_timestamp,stop_timestamp,"
        ...         "verb_class",
        ...         "7,P01,P01_01,00:00:00.14,00:00:03.37,1",
        ...         "9,P26,P26_02,00:01:00.00,00:01:01.50,0",
        ...     ],
        ...     "EPIC_verb_classes.csv": ["verb_id,class_key", "0,take", "1,open"],
        ...     "EPIC_video_info.csv": ["video,duration", "P01_01,64", "P26_02,90"],
        ...     "videos/train/P01/P01_01.MP4": ["frames"],
        ...     "videos/train/P26/P26_02.MP4": ["frames"],
        ... }
        >>> for name, lines in tables.items():
        ...     path = pathlib.Path("epic", name)
        ...     path.parent.mkdir(parents=True, exist_ok=True)
        ...     _ = path.write_text(chr(10).join(lines))
        >>> index = read_epic_kitchens("epic")
        >>> [(s.video, s.start_s, s.label) for s in index.segments]
        [('P01_01', 0.14, 'open'), ('P26_02', 60.0, 'take')]
    """
    data_root = pathlib.Path(data_root)
    if split not in NUM_SEGMENTS:
        raise ValueError(f"split must be p01_p25 or rulstm. Got {split!r}.")
    if not 0 < frame_rate < float("inf"):
        raise ValueError(f"frame_rate must be above 0 per second. Got {frame_rate}.")
    folder = epic_annotations.find_folder(data_root, RELEASE, LABELS)
    vocabulary = epic_annotations.read_vocabulary(folder, RELEASE, target)
    rows = epic_annotations.read_rows(
        folder / LABELS, RELEASE.uid, vocabulary.num_classes
    )
    if split == "rulstm":
        parts = _listed_parts(folder, rows)
    else:
        parts = {row.video: _part_of(row.participant) for row in rows}
    if TRAIN not in parts.values():
        raise ValueError(f"{folder / LABELS} has no training video of split {split}.")
    found = epic_annotations.open_videos(
        RELEASE,
        folder,
        data_root,
        parts,
        frame_rates(parts, frame_rate),
        max_bad_videos,
        progress,
    )
    index = dataclasses.replace(
        found,
        classes=vocabulary.classes(rows),
        segments=epic_annotations.segments(folder / LABELS, rows, found, vocabulary),
    )
    name = f"{RELEASE.name}, split {split},"
    compare_with_published(name, index, NUM_SEGMENTS[split])
    return index


def frame_rates(videos: Iterable[str], frame_rate: float | None) -> dict[str, float]:
    """Returns the rates of the frames in folders and tars; None is as released."""
    return dict.fromkeys(videos, float(frame_rate or FRAME_RATE))


def _part_of(participant):
    return TRAIN if int(participant[1:]) <= _LAST_TRAINING_PARTICIPANT else VAL


def _listed_parts(folder, rows):
    lists = {part: folder / name for part, name in _SPLIT_LISTS.items()}
    parts = {}
    for part, path in lists.items():
        for video in read_text(path, "the list of videos").split():
            if parts.setdefault(video, part) != part:
                raise ValueError(
                    f"{path}: video {video} is in {lists[parts[video]]}, too."
                )
    videos = list(dict.fromkeys(row.video for row in rows))
    neither = [video for video in videos if video not in parts]
    if neither:
        raise ValueError(
            f"{len(neither)} annotated videos, {neither[0]} the first, are in neither "
            f"{' nor '.join(map(str, lists.values()))}. Take the lists of the split."
        )
    return {video: parts[video] for video in videos}
