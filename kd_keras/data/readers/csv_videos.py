"""Reads a user's own videos: one CSV row per segment, `video,start,end,label,split`."""

import collections
import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable

from kd_keras.data.checks.labels import contradictions
from kd_keras.data.class_names import class_name
from kd_keras.data.csv_table import read_table, stop_at
from kd_keras.data.readers.probing import probe_videos
from kd_keras.data.segments import PARTS, REPEATED_ROWS, TRAIN, Index, Segment
from kd_keras.data.video.info import Video, VideoInfo

_COLUMNS = ("video", "start", "end", "label", "split")
_OPTIONAL = ("group",)
_ALIASES = {"label_name": "label"}


def read_csv(
    annotations: str | os.PathLike,
    video_root: str | os.PathLike,
    max_bad_videos: float = 0.01,
    progress: bool = True,
    refuse_contradictions: bool = False,
    probe: Callable[[Video], VideoInfo] | None = None,
) -> Index:
    """Reads the annotations, checks them, and opens every video that they name.

    The file is UTF-8 with commas; its header names the columns `video` (path under
    `video_root`), `start` and `end` (seconds), `label` (class name, or empty for a
    segment known to have no label; the column may be called `label_name`) and `split`
    (`train`, `val` or `test`), in any order. A column `group` may say which videos
    resemble each other, such as clips that were cut from one recording (`hold_out`).
    Other columns are ignored. Blanks around a value do not count. A row that repeats
    another is dropped, with a warning.

    A video that cannot be read is skipped with its segments and listed in
    `Index.bad_videos`. An `end` up to one frame past the end of its video is cut.

    Args:
        annotations: The CSV file.
        video_root: Folder that holds every video.
        max_bad_videos: Fraction of the videos that may be skipped (one always may; 0
            allows none).
        progress: Print a line to stderr now and then while the videos are opened.
        refuse_contradictions: Stop if one interval of a video has two different labels.
        probe: Opens what stands for a video and raises `BadVideo` if it cannot; None
            opens video files.
    Raises:
        ValueError: If anything in the file cannot be used; the message names the
            file, the lines, and what to write instead. Everything that needs no video
            is checked before the first is opened.
    Examples:
        >>> import pathlib
        >>> import tempfile
        >>> import numpy as np
        >>> from kd_keras.data.readers.csv_videos import read_csv
        >>> from kd_keras.data.video.reading import write_video
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frames = np.zeros((30, 32, 32, 3), "uint8")
        ...     write_video(f"{folder}/kitchen.mp4", frames, frame_rate=10)
        ...     annotations = pathlib.Path(folder, "actions.csv")
        ...     _ = annotations.write_text(
        ...         "video,start,end,label,split\\n"
        ...         "kitchen.mp4,0.5,1.5,open door,train\\n"
        ...         "kitchen.mp4,2,2.8,,train\\n"
        ...     )
        ...     index = read_csv(annotations, video_root=folder, progress=False)
        >>> [(s.start_s, s.end_s, s.label) for s in index.segments]
        [(0.5, 1.5, 'open door'), (2.0, 2.8, None)]
    """
    annotations, video_root = pathlib.Path(annotations), pathlib.Path(video_root)
    if not video_root.is_dir():
        raise ValueError(f"video_root {video_root} is not a folder.")
    rows, num_repeats = _read_rows(annotations, video_root)
    if refuse_contradictions:
        stop_at(annotations, contradictions(rows))
    _warn_of_split_groups(annotations, rows)
    videos = _videos(rows)
    # The first row of a video: the last to write its key.
    places = {row.video: f"{annotations}, line {row.line}" for row in rows[::-1]}
    infos, bad_videos = probe_videos(
        videos.values(), max_bad_videos, progress, places, probe
    )
    stop_at(annotations, _classes_lost(rows, bad_videos))
    rows = [row for row in rows if row.video in infos]
    stop_at(annotations, _beyond_the_video(rows, infos))
    durations_s = {name: float(info.duration_s) for name, info in infos.items()}
    return Index(
        classes=tuple(sorted({row.label for row in rows if row.label is not None})),
        videos={name: videos[name] for name in infos},
        durations_s=durations_s,
        segments=tuple(
            Segment(
                row.video,
                row.start_s,
                min(row.end_s, durations_s[row.video]),
                row.label,
                uid=row.uid,
            )
            for row in rows
        ),
        bad_videos=bad_videos,
        infos=infos,
        dropped={REPEATED_ROWS: num_repeats} if num_repeats else {},
    )


def read_again(
    annotations: str | os.PathLike, video_root: str | os.PathLike, index: Index
) -> Index:
    """Returns what an index would be if its annotations were read now.

    No video is looked for: each is taken to be what it was.

    Args:
        annotations, video_root: As in `read_csv`; the folder need not exist.
        index: What `read_csv` returned before.
    Raises:
        ValueError: As `read_csv`, for all that needs no video; labels that contradict
            each other are not looked for.
    """
    rows, _ = _read_rows(pathlib.Path(annotations), video_root)
    rows = [row for row in rows if row.video not in index.bad_videos]
    known = index.durations_s
    return dataclasses.replace(
        index,
        classes=tuple(sorted({row.label for row in rows if row.label is not None})),
        videos=_videos(rows),
        segments=tuple(
            Segment(
                row.video,
                row.start_s,
                min(row.end_s, known.get(row.video, row.end_s)),
                row.label,
            )
            for row in rows
        ),
    )


def count_labeled(annotations: str | os.PathLike) -> collections.Counter[str]:
    """Returns how many segments of each part have a label; opens no video.

    Args:
        annotations: As in `read_csv`.
    Raises:
        ValueError: If the file cannot be read, or lacks a column.
    """

    def part_if_labeled(_, values):
        return values["split"] if class_name(values["label"]) else None

    parts = read_table(annotations, _COLUMNS, part_if_labeled, _ALIASES)
    return collections.Counter(part for part in parts if part is not None)


@dataclasses.dataclass(frozen=True)
class _Row:
    line: int
    video: str
    path: str
    start_s: float
    end_s: float
    label: str | None
    part: str
    group: str | None

    @property
    def uid(self):
        return str(self.line)


def _read_rows(annotations, video_root):
    root, names = os.path.abspath(video_root), {}

    def parse(line, values):
        row = _parse(line, *(values[name] for name in _COLUMNS + _OPTIONAL), root)
        # "a.mp4" and "./a.mp4" are one video; it keeps the spelling that came first.
        return dataclasses.replace(row, video=names.setdefault(row.path, row.video))

    rows = read_table(annotations, _COLUMNS, parse, _ALIASES, _OPTIONAL)
    rows, num_repeats = _drop_repeats(annotations, rows)
    stop_at(annotations, _leaks(rows))
    stop_at(annotations, _in_two_groups(rows))
    stop_at(annotations, _classes_without_training(rows))
    return rows, num_repeats


def _videos(rows):
    return {
        row.video: Video(row.video, pathlib.Path(row.path), row.part, group=row.group)
        for row in rows
    }


def _parse(line, video, start, end, label, part, group, root):
    if part not in PARTS:
        raise ValueError(f"unknown split {part!r}; write one of {', '.join(PARTS)}")
    start_s, end_s = _seconds("start", start), _seconds("end", end)
    if start_s < 0:
        raise ValueError(f"start {start} is negative; a video starts at 0")
    if end_s <= start_s:
        raise ValueError(f"end {end} is not after start {start}; swap or correct them")
    return _Row(
        line,
        video,
        _path_under(root, video),
        start_s,
        end_s,
        class_name(label) or None,
        part,
        class_name(group) or None,
    )


def _seconds(column, text):
    try:
        # Python reads 1_5 as 15.
        seconds = float(text.replace("_", "?"))
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) < float("inf"):
        raise ValueError(f"{column} {text!r} is not a number of seconds, such as 62.5")
    return seconds


def _path_under(root, video):
    if not video:
        raise ValueError("the video has no name; write its path under video_root")
    path = os.path.abspath(os.path.join(root, video))
    if path == root or not path.startswith(os.path.join(root, "")):
        raise ValueError(
            f"video {video!r} lies outside video_root {root}; write a path under it, "
            "or set video_root to a folder that holds every video"
        )
    return path


def _drop_repeats(annotations, rows):
    """Returns the rows that differ and the number of the others."""
    kept = {}
    for row in rows:
        kept.setdefault((row.path, row.start_s, row.end_s, row.label, row.part), row)
    num_dropped = len(rows) - len(kept)
    if num_dropped:
        logging.getLogger(__name__).warning(
            "%s: dropped %d rows that repeat another row.", annotations, num_dropped
        )
    return list(kept.values()), num_dropped


def _leaks(rows):
    first = {}
    for row in rows:
        first.setdefault(row.video, {}).setdefault(row.part, row)
    for parts in first.values():
        if len(parts) > 1:
            row, other = list(parts.values())[:2]
            yield (
                f"lines {row.line} and {other.line}: video {row.video!r} is in both "
                f"{row.part} and {other.part}; a video belongs to one split, or "
                "training sees what evaluation asks"
            )


def _in_two_groups(rows):
    first = {}
    for row in rows:
        other = first.setdefault(row.video, row)
        if row.group != other.group:
            yield (
                f"lines {other.line} and {row.line}: video {row.video!r} is in the "
                f"groups {other.group or ''!r} and {row.group or ''!r}; write one "
                "group in all its rows"
            )


def _warn_of_split_groups(annotations, rows):
    parts = collections.defaultdict(set)
    for row in rows:
        if row.group is not None:
            parts[row.group].add(row.part)
    split = sorted(group for group, own in parts.items() if len(own) > 1)
    if split:
        logging.getLogger(__name__).warning(
            "%s: %d of %d groups have videos in several splits, such as %r. Training "
            "sees what resembles the evaluated videos, so scores are too good.",
            annotations,
            len(split),
            len(parts),
            split[0],
        )


def _classes_without_training(rows):
    trained = _trained_classes(rows)
    if not trained:
        yield f"no row of split {TRAIN!r} has a label; the teacher needs some"
        return
    first = {}
    for row in rows:
        if row.label is not None and row.label not in trained:
            first.setdefault(row.label, row)
    for label, row in first.items():
        yield (
            f"line {row.line}: class {label!r} is in {row.part} but has no training "
            f"example; add one, or correct the label (trained classes: "
            f"{', '.join(sorted(trained))})"
        )


def _classes_lost(rows, bad_videos):
    left = _trained_classes([row for row in rows if row.video not in bad_videos])
    for label in sorted(_trained_classes(rows) - left):
        reasons = {
            row.video: bad_videos[row.video]
            for row in rows
            if row.label == label and row.part == TRAIN
        }
        skipped = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        yield (
            f"class {label!r} has no training example left, because every video with "
            f"one cannot be read ({skipped}); repair a video or remove the class"
        )


def _trained_classes(rows):
    return {row.label for row in rows if row.part == TRAIN and row.label is not None}


def _beyond_the_video(rows, infos):
    for row in rows:
        info = infos[row.video]
        frame_s = 1 / info.frame_rate
        if row.start_s >= info.duration_s:
            beyond = f"start {row.start_s:g}"
        elif row.end_s > info.duration_s + frame_s:
            beyond = f"end {row.end_s:g}"
        else:
            continue
        yield (
            f"line {row.line}: {beyond} lies beyond the end of video {row.video!r}, "
            f"which lasts {info.duration_s:.3f} s; times are seconds from its start"
        )
