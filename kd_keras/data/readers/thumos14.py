"""Reads THUMOS14's untrimmed videos of 20 sports (paper, section 3.4)."""

import collections
import dataclasses
import json
import os
import pathlib
import re

from kd_keras.data.csv_table import read_text, stop_at
from kd_keras.data.readers.release import compare_with_published, open_release
from kd_keras.data.segments import TEST, TRAIN, Index, Segment

NUM_CLASSES = 20
# Actions by part, of the 3,007 and 3,358 of the release, once what is wrong is dropped.
NUM_ACTIONS = {TRAIN: 2860, TEST: 3097}

_AMBIGUOUS = "Ambiguous"
# Its annotations lie at times without any action.
_WRONG_VIDEOS = ("video_test_0001496",)
# Endings of the text files and where the release's archives, or others, put them. The
# validation part is what one trains on: the trimmed training part is UCF101.
_PARTS = {TRAIN: "val", TEST: "test"}
_FOLDERS = {
    TRAIN: (
        "annotations_val",
        "TH14_Temporal_annotations_validation/annotation",
        "annotation",
        "annotations",
    ),
    TEST: (
        "annotations_test",
        "TH14_Temporal_Annotations_Test/annotations/annotation",
        "TH14_Temporal_annotations_test/annotation",
        "annotation",
        "annotations",
    ),
}
_VIDEO_INFO = "video_info.json"


def read_thumos14(
    data_root: str | os.PathLike,
    max_bad_videos: float = 0.01,
    progress: bool = True,
) -> Index:
    """Reads both parts: the validation part trains, the test part evaluates.

    `data_root` holds `annotations_val/<class>_val.txt` and
    `annotations_test/<class>_test.txt` (or the folders that the release's archives
    unpack to), and anywhere below itself the videos `video_validation_0000051.mp4`
    and so on, or folders or tars of their frames. The names
    of the text files give the classes. `video_info.json` gives each video's `fps` and
    `duration`. It has to list videos that are folders or tars of frames. Of others, a
    file that it does not list is opened. If there is no `video_info.json`, every file
    is opened.

    Rows that are dropped are counted in `Index.dropped`. `Ambiguous` is no action and
    never a label. Of the release's 3,007 training and 3,358 test actions 2,860 and
    3,097 are left once these are dropped, too:

        repeated_diving: A row of Diving that repeats one of CliffDiving (143, 217).
            CliffDiving, the more exact of the two, keeps it.
        after_the_end: A row that starts after the end of its video (4, 26).
        wrong_video: The rows of video_test_0001496, annotated wrongly (0, 18).

    Args:
        data_root: Folder of annotations and videos.
        max_bad_videos: Fraction of the videos that may be missing or unreadable (one
            always may; 0 allows none).
        progress: Print a line to stderr now and then while videos are opened.
    Raises:
        ValueError: If a file is missing or holds something else, or too many videos
            are missing; the message names the file, the line and what to do.
    Examples:
        The file of durations spares the videos from being opened.

        >>> import pathlib
        >>> from kd_keras.data.readers.thumos14 import read_thumos14
        >>> files = {
        ...     "annotations_val/Diving_val.txt": "video_validation_1 3.0 4.5",
        ...     "annotations_test/Diving_test.txt": "video_test_1 2.0 9.5",
        ...     "video_info.json": (
        ...         '{"video_validation_1": {"fps": 25, "duration": 8},'
        ...         ' "video_test_1": {"fps": 25, "duration": 9}}'
        ...     ),
        ...     "videos/video_validation_1.mp4": "frames",
        ...     "videos/video_test_1.mp4": "frames",
        ... }
        >>> for name, text in files.items():
        ...     path = pathlib.Path("thumos14", name)
        ...     path.parent.mkdir(parents=True, exist_ok=True)
        ...     _ = path.write_text(text)
        >>> index = read_thumos14("thumos14")
        >>> [(s.video, s.start_s, s.end_s) for s in index.segments]
        [('video_validation_1', 3.0, 4.5), ('video_test_1', 2.0, 9.0)]
    """
    data_root = pathlib.Path(data_root)
    rows = [row for part in _PARTS for row in _read_part(data_root, part)]
    durations_s, frame_rates = _read_video_info(data_root / _VIDEO_INFO)
    dropped = collections.Counter(row.part for row in rows if row.label == _AMBIGUOUS)
    dropped = {f"{part}: {_AMBIGUOUS}": number for part, number in dropped.items()}
    actions = [row for row in rows if row.label != _AMBIGUOUS]
    found = open_release(
        data_root,
        {row.video: row.part for row in actions},
        durations_s,
        frame_rates,
        max_bad_videos,
        progress,
    )
    kept = [row for row in actions if row.video in found.videos]
    for name, without in _DROP.items():
        left = list(without(kept, found.durations_s))
        gone = collections.Counter(row.part for row in kept)
        gone.subtract(row.part for row in left)
        dropped |= {f"{part}: {name}": n for part, n in gone.items() if n}
        kept = left
    index = dataclasses.replace(
        found,
        classes=tuple(sorted({row.label for row in actions})),
        segments=tuple(_segment(row, found.durations_s[row.video]) for row in kept),
        dropped=dropped,
    )
    compare_with_published("THUMOS14", index, NUM_ACTIONS)
    return index


@dataclasses.dataclass(frozen=True)
class _Row:
    file: str
    line: int
    part: str
    video: str
    start_s: float
    end_s: float
    label: str

    @property
    def interval(self):
        return self.video, self.start_s, self.end_s


def _read_part(data_root, part):
    ending = f"_{_PARTS[part]}.txt"
    folders = [data_root / name for name in _FOLDERS[part]]
    for folder in folders:
        # Archives packed on a Mac have a "._x" beside every x.
        files = [p for p in sorted(folder.glob(f"[!.]*{ending}"))]
        if files:
            return [row for path in files for row in _read_file(path, part, ending)]
    raise ValueError(
        f"Found no text files <class>{ending} of THUMOS14. Looked in "
        f"{', '.join(map(str, folders))}. Unpack the release's temporal annotations of "
        "both parts into data_root."
    )


def _read_file(path, part, ending):
    label = path.name.removesuffix(ending)
    rows, problems = [], []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            video, start_s, end_s = _parse(text)
        except ValueError as error:
            problems.append(f"line {line}: {error}")
            continue
        rows.append(_Row(path.stem, line, part, video, start_s, end_s, label))
    if not rows and not problems:
        problems.append("there is no row; unpack the release's annotations again")
    stop_at(path, problems)
    return rows


def _parse(text):
    matched = re.fullmatch(r"\s*(\S+)\s+(\d+(?:\.\d*)?)\s+(\d+(?:\.\d*)?)\s*", text)
    if not matched:
        raise ValueError(f"{text!r} is not a video, a start and an end in seconds")
    video, start_s, end_s = matched[1], float(matched[2]), float(matched[3])
    if end_s <= start_s:
        raise ValueError(f"the end {end_s:g} is not after the start {start_s:g}")
    return video, start_s, end_s


def _read_video_info(path):
    """Returns seconds and frames per second, by video."""
    if not path.is_file():
        return {}, {}
    try:
        infos = json.loads(read_text(path))
        durations_s = {name: float(info["duration"]) for name, info in infos.items()}
        frame_rates = {name: float(info["fps"]) for name, info in infos.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} does not give a duration and an fps for each video ({error!r}); "
            "without the file the videos are opened for them."
        ) from error
    for name in infos:
        if not (durations_s[name] > 0 and frame_rates[name] > 0):
            raise ValueError(f"{path}: duration and fps of {name} must be above 0.")
    return durations_s, frame_rates


def _without_repeated_diving(rows, durations_s):
    cliffs = {row.interval for row in rows if row.label == "CliffDiving"}
    return (r for r in rows if r.label != "Diving" or r.interval not in cliffs)


def _without_rows_after_the_end(rows, durations_s):
    return (row for row in rows if row.start_s < durations_s[row.video])


def _without_wrong_videos(rows, durations_s):
    return (row for row in rows if row.video not in _WRONG_VIDEOS)


_DROP = {
    "repeated_diving": _without_repeated_diving,
    "after_the_end": _without_rows_after_the_end,
    "wrong_video": _without_wrong_videos,
}


def _segment(row, duration_s):
    uid = f"{row.file}:{row.line}"
    end_s = min(row.end_s, duration_s)
    return Segment(row.video, row.start_s, end_s, row.label, uid=uid)
