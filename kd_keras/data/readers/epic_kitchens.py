"""Reads EPIC-KITCHENS-55: 28,472 actions in 272 videos of 28 kitchens (Table 3)."""

import collections
import dataclasses
import logging
import os
import pathlib
import re
from typing import Literal

from kd_keras.data.csv_table import read_table, read_text, stop_at
from kd_keras.data.readers.release import open_release
from kd_keras.data.segments import TRAIN, VAL, Index, Segment

# The release's frames were all taken out at this rate, whatever the camera's.
FRAME_RATE = 60.0
# (training, validation) segments of each split.
NUM_SEGMENTS = {"p01_p25": (23191, 5281), "rulstm": (23493, 4979)}
NUM_CLASSES = {"verb": 125, "noun": 352}

_LABELS = "EPIC_train_action_labels.csv"
_VIDEOS = "EPIC_video_info.csv"
# The release, and repositories that keep its annotations in a folder.
_FOLDERS = (".", "annotations", "epic-kitchens-55-annotations")
_LAST_TRAINING_PARTICIPANT = 25
_SPLIT_LISTS = {
    TRAIN: "rulstm_split/training_videos.csv",
    VAL: "rulstm_split/validation_videos.csv",
}


def read_epic_kitchens(
    data_root: str | os.PathLike,
    split: Literal["p01_p25", "rulstm"] = "p01_p25",
    target: Literal["verb", "noun"] = "verb",
    frame_rate: float = FRAME_RATE,
    max_bad_videos: float = 0.01,
    progress: bool = True,
) -> Index:
    """Reads the annotations and looks for the videos, without opening them.

    `data_root` holds, in itself or in `annotations`, `EPIC_train_action_labels.csv`,
    `EPIC_video_info.csv` and `EPIC_{verb,noun}_classes.csv`; and somewhere below
    itself, of each annotated video, a folder of frames `P01_01`, a tar of frames
    `P01_01.tar` or the video `P01_01.MP4` (the release's `rgb/train/P01/P01_01.tar`
    and `videos/train/P01/P01_01.MP4`; folders called `flow` are passed over). A video
    that `EPIC_video_info.csv` does not list is opened for its duration.

    Splits are by kitchen or by video. Results on them are not comparable. `p01_p25` is
    the paper's: participants P01-P25 train, P26-P31 validate. `rulstm` is by the lists
    of videos in `rulstm_split`. Every class of the release has its place in the head,
    including the few that no training segment shows. No segment is dropped.

    Args:
        data_root: Folder into which the release was unpacked.
        split: `p01_p25` or `rulstm`.
        target: What a label is: the class of the verb or of the (first) noun.
        frame_rate: Frames per second of the frames in folders and tars.
        max_bad_videos: Fraction of the videos that may be missing or unreadable (one
            always may; 0 allows none).
        progress: Print a line to stderr now and then while videos are opened.
    Raises:
        ValueError: If a file is missing or holds something else, or too many videos
            are missing; the message names the file, the line and what to do.
    """
    data_root = pathlib.Path(data_root)
    if split not in NUM_SEGMENTS:
        raise ValueError(f"split must be p01_p25 or rulstm. Got {split!r}.")
    if target not in NUM_CLASSES:
        raise ValueError(f"target must be verb or noun. Got {target!r}.")
    if not 0 < frame_rate < float("inf"):
        raise ValueError(f"frame_rate must be above 0 per second. Got {frame_rate}.")
    folder = _find_folder(data_root)
    classes = _read_classes(folder / f"EPIC_{target}_classes.csv")
    rows = _read_rows(folder / _LABELS, target, classes)
    if split == "rulstm":
        parts = _listed_parts(folder, rows)
    else:
        parts = {row.video: _part_of(row.participant) for row in rows}
    if TRAIN not in parts.values():
        raise ValueError(f"{folder / _LABELS} has no training video of split {split}.")
    found = open_release(
        data_root,
        parts,
        _read_durations(folder / _VIDEOS),
        dict.fromkeys(parts, float(frame_rate)),
        max_bad_videos,
        progress,
    )
    rows = [row for row in rows if row.video in found.videos]
    stop_at(folder / _LABELS, _beyond_the_video(rows, found.durations_s))
    _compare_with_published(rows, parts, split)
    return dataclasses.replace(
        found,
        classes=classes,
        segments=tuple(
            Segment(
                row.video,
                row.start_s,
                min(row.end_s, found.durations_s[row.video]),
                row.label,
                uid=row.uid,
            )
            for row in rows
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Row:
    line: int
    uid: str
    participant: str
    video: str
    start_s: float
    end_s: float
    label: str


def _find_folder(data_root):
    folders = [data_root / name for name in _FOLDERS]
    for folder in folders:
        if (folder / _LABELS).is_file():
            return folder
    raise ValueError(
        f"Found no {_LABELS} of EPIC-KITCHENS-55. Looked in "
        f"{', '.join(map(str, folders))}. Put the CSV files of the release's "
        "annotations into data_root or into its folder annotations."
    )


def _read_classes(path):
    """Returns the names of the classes; their numbers are the positions."""
    column = "verb_id" if "verb" in path.name else "noun_id"
    keys = dict(
        read_table(
            path,
            (column, "class_key"),
            lambda line, row: (_whole_number(column, row[column]), row["class_key"]),
        )
    )
    names = tuple(keys.get(number, "") for number in range(len(keys)))
    if "" in names or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: {column} must count from 0 and every class_key differ. Take the "
            "file of the release."
        )
    return names


def _read_rows(path, target, classes):
    column = f"{target}_class"
    first = {}

    def parse(line, row):
        number = _whole_number(column, row[column])
        if number >= len(classes):
            raise ValueError(
                f"{column} {number} is none of the {len(classes)} of the release"
            )
        start_s = _seconds("start_timestamp", row["start_timestamp"])
        end_s = _seconds("stop_timestamp", row["stop_timestamp"])
        if end_s <= start_s:
            raise ValueError(
                f"stop_timestamp {row['stop_timestamp']} is not after start_timestamp "
                f"{row['start_timestamp']}"
            )
        uid, video, participant = (
            row[name] for name in ("uid", "video_id", "participant_id")
        )
        if not re.fullmatch(r"P\d+", participant) or not video.startswith(participant):
            raise ValueError(
                f"participant_id {participant!r} of video {video!r} is not like P01 "
                "of P01_01"
            )
        if first.setdefault(uid, line) != line:
            raise ValueError(f"uid {uid!r} is that of line {first[uid]}, too")
        return _Row(line, uid, participant, video, start_s, end_s, classes[number])

    columns = ("uid", "participant_id", "video_id", "start_timestamp")
    return read_table(path, (*columns, "stop_timestamp", column), parse)


def _whole_number(column, text):
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"{column} {text!r} is not the number of a class, such as 12")
    return int(text)


def _seconds(column, text):
    matched = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d*)?)", text)
    if not matched:
        raise ValueError(f"{column} {text!r} is not a time as 00:01:02.50 is")
    hours, minutes, seconds = matched.groups()
    # Free of the error of the sum: 00:01:02.35 is the float 62.35.
    return round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 6)


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


def _read_durations(path):
    """Returns seconds by video. The dict is empty if there is no such file."""
    if not path.is_file():
        return {}

    def parse(line, row):
        try:
            duration_s = float(row["duration"])
        except ValueError:
            duration_s = 0.0
        if not 0 < duration_s < float("inf"):
            raise ValueError(
                f"duration {row['duration']!r} is not a number of seconds above 0"
            )
        return row["video"], duration_s

    return dict(read_table(path, ("video", "duration"), parse))


def _beyond_the_video(rows, durations_s):
    for row in rows:
        if row.start_s >= durations_s[row.video]:
            yield (
                f"line {row.line}: the action at {row.start_s:g} s begins after the "
                f"end of video {row.video}, which lasts {durations_s[row.video]:.3f} s"
            )


def _compare_with_published(rows, parts, split):
    counts = collections.Counter(parts[row.video] for row in rows)
    counts = counts[TRAIN], counts[VAL]
    if counts != NUM_SEGMENTS[split]:
        logging.getLogger(__name__).warning(
            "EPIC-KITCHENS-55, split %s, has %d training and %d validation segments "
            "here; the release has %d and %d. Accuracies do not compare with published "
            "ones.",
            split,
            *counts,
            *NUM_SEGMENTS[split],
        )
