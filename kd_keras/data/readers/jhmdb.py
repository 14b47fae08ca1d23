"""Reads J-HMDB: 928 clips of 21 actions, in three official splits (paper, Table 1)."""

import logging
import os
import pathlib
from typing import Literal

from kd_keras.data.csv_table import read_text
from kd_keras.data.readers.probing import probe_videos
from kd_keras.data.segments import TEST, TRAIN, Index, Segment
from kd_keras.data.video.info import Video

# The frames carry no time: frame k is taken to span [k/25, (k+1)/25) seconds, at which
# the archive's videos agree. Their own frames are unevenly spaced: they sit on ticks of
# 1/30 s, every sixth of which is empty.
FRAME_RATE = 25.0
NUM_CLASSES = 21
# (training, test) clips of each official split.
NUM_CLIPS = {1: (660, 268), 2: (658, 270), 3: (663, 265)}

# Where the release puts things; its video archive unpacks into a folder of its own.
_SPLITS = ("splits",)
_FRAMES = ("Rename_Images",)
_VIDEOS = ("ReCompress_Videos", "JHMDB_video/ReCompress_Videos")
_PARTS = {"1": TRAIN, "2": TEST}


def read_jhmdb(
    data_root: str | os.PathLike,
    split: Literal[1, 2, 3] = 1,
    source: Literal["auto", "frames", "videos"] = "auto",
    max_bad_videos: float = 0.01,
    progress: bool = True,
) -> Index:
    """Reads one official split from the folders of the release.

    `data_root` holds `splits/<class>_test_split{1,2,3}.txt` and either
    `Rename_Images/<class>/<clip>/00001.png` or `ReCompress_Videos/<class>/<clip>.avi`.
    The whole clip is one segment. The split files give the classes, so removing the
    files of some classes gives a subset.

    Args:
        data_root: Folder into which the archives were unpacked.
        split: 1, 2 or 3.
        source: `frames`, `videos`, or `auto`, which reads the frames if there are any.
        max_bad_videos: Fraction of the clips that may be skipped (one always may; 0
            allows none).
        progress: Print a line to stderr now and then while the clips are opened.
    Raises:
        ValueError: If a folder or file is missing or holds something else, or too many
            clips cannot be read.
    """
    data_root = pathlib.Path(data_root)
    if split not in NUM_CLIPS:
        raise ValueError(f"J-HMDB has the splits 1, 2 and 3. Got split={split!r}.")
    listed = _read_split(_find_folder(data_root, _SPLITS, "the split files"), split)
    folder, is_frames = _find_clips(data_root, source)
    videos, labels = {}, {}
    for label, clip, part in listed:
        if clip in videos:
            raise ValueError(
                f"Clip {clip} is listed twice in split {split}, under "
                f"{labels[clip]} and {label}. Unpack splits.zip again."
            )
        path = folder / label / (clip if is_frames else f"{clip}.avi")
        videos[clip] = Video(clip, path, part, FRAME_RATE if is_frames else None)
        labels[clip] = label
    infos, bad_videos = probe_videos(videos.values(), max_bad_videos, progress)
    readable = {name: videos[name] for name in infos}
    classes = tuple(sorted(set(labels.values())))
    _compare_with_published(readable, split, classes)
    durations_s = {name: float(info.duration_s) for name, info in infos.items()}
    return Index(
        classes=classes,
        videos=readable,
        durations_s=durations_s,
        segments=tuple(
            Segment(name, 0.0, durations_s[name], labels[name], uid=name)
            for name in readable
        ),
        bad_videos=bad_videos,
        infos=infos,
    )


def _find_folder(data_root, names, content):
    for name in names:
        if (data_root / name).is_dir():
            return data_root / name
    raise ValueError(
        f"Found no folder with {content} of J-HMDB. Looked for "
        f"{' and '.join(str(data_root / name) for name in names)}. Unpack the archives "
        "of the release into data_root."
    )


def _find_clips(data_root, source):
    """Returns the folder of the clips and whether they are folders of frames."""
    if source == "auto":
        folder = _find_folder(data_root, (*_FRAMES, *_VIDEOS), "the clips")
        return folder, folder.name in _FRAMES
    if source == "frames":
        return _find_folder(data_root, _FRAMES, "the frames"), True
    if source == "videos":
        return _find_folder(data_root, _VIDEOS, "the videos"), False
    raise ValueError(f"source must be auto, frames or videos. Got {source!r}.")


def _read_split(folder, split):
    """Yields (class, clip, part) of every clip that the split uses."""
    ending = f"_test_split{split}.txt"
    # The archives were packed on a Mac: "._x" and ".AppleDouble" are not data.
    files = [
        path
        for path in sorted(folder.glob(f"*{ending}"))
        if not path.name.startswith(".")
    ]
    if not files:
        raise ValueError(
            f"Found no split files. Looked for {folder / ('<class>' + ending)}. Unpack "
            "splits.zip of the release into data_root."
        )
    for path in files:
        lines = read_text(path, "the split file").splitlines()
        if not any(map(str.strip, lines)):
            raise ValueError(f"{path} names no clip. Unpack splits.zip again.")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            clip, _, digit = line.strip().rpartition(" ")
            if not clip.strip().endswith(".avi") or digit not in _PARTS:
                raise ValueError(
                    f"{path}, line {number}: expected '<clip>.avi 1' (training) or "
                    f"'<clip>.avi 2' (test). Got {line!r}."
                )
            yield (
                path.name.removesuffix(ending),
                clip.strip().removesuffix(".avi"),
                _PARTS[digit],
            )


def _compare_with_published(videos, split, classes):
    parts = [video.part for video in videos.values()]
    counts = parts.count(TRAIN), parts.count(TEST)
    log = logging.getLogger(__name__)
    if len(classes) != NUM_CLASSES:
        log.info("J-HMDB: %d of %d classes, a subset.", len(classes), NUM_CLASSES)
    elif counts != NUM_CLIPS[split]:
        log.warning(
            "J-HMDB split %d has %d training and %d test clips; the release has %d and "
            "%d. Accuracies do not compare with published ones.",
            split,
            *counts,
            *NUM_CLIPS[split],
        )
