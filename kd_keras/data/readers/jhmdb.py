"""Reads J-HMDB: 928 clips of 21 actions, in three official splits (paper, Table 1)."""

import logging
import os
import pathlib
import re
from typing import Literal

from kd_keras.data.csv_table import read_text
from kd_keras.data.readers.probing import probe_videos
from kd_keras.data.readers.release import compare_with_published
from kd_keras.data.segments import TEST, TRAIN, Index, Segment
from kd_keras.data.video.info import Video

# The frames carry no time: frame k is taken to span [k/25, (k+1)/25) seconds, at which
# the archive's videos agree. Their own frames are unevenly spaced: they sit on ticks of
# 1/30 s, every sixth of which is empty.
FRAME_RATE = 25.0
NUM_CLASSES = 21
# Clips of each official split, by part.
NUM_CLIPS = {
    1: {TRAIN: 660, TEST: 268},
    2: {TRAIN: 658, TEST: 270},
    3: {TRAIN: 663, TEST: 265},
}

# Where the release puts things; its video archive unpacks into a folder of its own.
_SPLITS = ("splits",)
_FRAMES = ("Rename_Images",)
_VIDEOS = ("ReCompress_Videos", "JHMDB_video/ReCompress_Videos")
_PARTS = {"1": TRAIN, "2": TEST}
# What HMDB writes after the action: the part of the body that is seen, the camera's
# motion, how many people there are, its side, the quality, and a number.
_CONDITIONS = re.compile(r"_[fuhlt]_[cn]m_np\d_(?:fr|le|ri|ba)_(?:goo|med|bad)_\d+$")


def read_jhmdb(
    data_root: str | os.PathLike,
    split: Literal[1, 2, 3] = 1,
    max_bad_videos: float = 0.01,
    progress: bool = True,
) -> Index:
    """Reads one official split from the folders of the release.

    `data_root` holds `splits/<class>_test_split{1,2,3}.txt` and either
    `Rename_Images/<class>/<clip>/00001.png` or `ReCompress_Videos/<class>/<clip>.avi`;
    if there are both, the images are read. The whole clip is one segment. The split
    files give the classes, so removing the files of some classes gives a subset. Clips
    of one recording are a group, which `hold_out` keeps together.

    Args:
        data_root: Folder into which the archives were unpacked.
        split: 1, 2 or 3.
        max_bad_videos: Fraction of the clips that may be skipped (one always may; 0
            allows none).
        progress: Print a line to stderr now and then while the clips are opened.
    Raises:
        ValueError: If a folder or file is missing or holds something else, or too many
            clips cannot be read.
    Examples:
        >>> import pathlib
        >>> import cv2
        >>> import numpy as np
        >>> from kd_keras.data.readers.jhmdb import read_jhmdb
        >>> root = pathlib.Path("jhmdb")
        >>> clip = root / "Rename_Images/wave/hello"
        >>> clip.mkdir(parents=True)
        >>> for number in range(1, 6):
        ...     picture = np.zeros((32, 32, 3), "uint8")
        ...     _ = cv2.imwrite(f"{clip}/{number:05}.png", picture)
        >>> (root / "splits").mkdir()
        >>> split = root / "splits/wave_test_split1.txt"
        >>> _ = split.write_text("hello.avi 1")
        >>> index = read_jhmdb(root, split=1)
        >>> index.videos["hello"].part, index.durations_s["hello"]
        ('train', 0.2)
    """
    data_root = pathlib.Path(data_root)
    if split not in NUM_CLIPS:
        raise ValueError(f"J-HMDB has the splits 1, 2 and 3. Got split={split!r}.")
    listed = _read_split(_find_folder(data_root, _SPLITS, "the split files"), split)
    folder = _find_folder(data_root, (*_FRAMES, *_VIDEOS), "the clips")
    is_frames = folder.name in _FRAMES
    videos, labels = {}, {}
    for label, clip, part in listed:
        if clip in videos:
            raise ValueError(
                f"Clip {clip} is listed twice in split {split}, under "
                f"{labels[clip]} and {label}. Unpack splits.zip again."
            )
        path = folder / label / (clip if is_frames else f"{clip}.avi")
        rate = FRAME_RATE if is_frames else None
        videos[clip] = Video(clip, path, part, rate, group=_recording(clip, label))
        labels[clip] = label
    infos, bad_videos = probe_videos(videos.values(), max_bad_videos, progress)
    readable = {name: videos[name] for name in infos}
    classes = tuple(sorted(set(labels.values())))
    durations_s = {name: float(info.duration_s) for name, info in infos.items()}
    index = Index(
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
    if len(classes) == NUM_CLASSES:
        compare_with_published(f"J-HMDB split {split}", index, NUM_CLIPS[split])
    else:
        logging.getLogger(__name__).info(
            "J-HMDB: %d of %d classes, a subset.", len(classes), NUM_CLASSES
        )
    return index


def _recording(clip, label):
    """What a clip was cut from: its name, without the action, conditions and number."""
    recording = _CONDITIONS.sub("", clip)
    return re.sub(f"_{re.escape(label)}$", "", recording, flags=re.IGNORECASE)


def _find_folder(data_root, names, content):
    for name in names:
        if (data_root / name).is_dir():
            return data_root / name
    raise ValueError(
        f"Found no folder with {content} of J-HMDB. Looked for "
        f"{' and '.join(str(data_root / name) for name in names)}. Unpack the archives "
        "of the release into data_root."
    )


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
