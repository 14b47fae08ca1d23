"""Checks a data set before training: videos, labels, leaks between its parts."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import pathlib

import cv2
import numpy as np

from kd_keras.data.parallel import num_cores, progress_bar
from kd_keras.data.segments import PARTS, Index
from kd_keras.data.video import reading

# A video is looked at where these fractions of it have passed.
_LOOKS = (0.1, 0.3, 0.5, 0.7, 0.9)
_THUMBNAIL_PX = 32
# Side of the blocks of a thumbnail whose means are compared first.
_BLOCK_PX = 8
# A release and the frames of a video give durations that differ by less than either.
_SAME_DURATION_S, _SAME_DURATION = 1.0, 0.02
# Gray levels of 255 that compression changes a thumbnail by, at most.
_COMPRESSION = 3.0
# Two recordings of one scene differ by what moves in them; copies by much less.
_PART_OF_MOTION = 0.5


@dataclasses.dataclass(frozen=True)
class VideoReport:
    """What one video holds.

    Attributes:
        frame_rate: Median, in frames per second.
        annotated_s: End of the last segment.
        problem: What is wrong with it; None if nothing is.
        remarks: What is unusual in it and may be meant.
    """

    name: str
    part: str
    num_frames: int
    frame_rate: float
    duration_s: float
    num_segments: int
    annotated_s: float
    problem: str | None
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Leak:
    """Two videos of different parts that show the same."""

    first: str
    second: str
    parts: tuple[str, str]
    reason: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found out about a data set.

    Attributes:
        videos: Of the readable ones.
        bad_videos: Reason by name of the others.
        labels: By part, the number of segments of each class and of none ("").
        leaks: Between parts.
        counts: By part, the numbers of videos and of labeled segments.
    """

    videos: list[VideoReport]
    bad_videos: dict[str, str]
    labels: dict[str, dict[str, int]]
    leaks: list[Leak]
    counts: dict[str, dict[str, int]]

    def problems(self) -> list[str]:
        """A sentence for everything that is wrong."""
        return [
            *(f"{name} cannot be read: {why}" for name, why in self.bad_videos.items()),
            *(f"{v.name}: {v.problem}" for v in self.videos if v.problem),
            *(
                f"{leak.first} ({leak.parts[0]}) and {leak.second} ({leak.parts[1]}): "
                f"{leak.reason}"
                for leak in self.leaks
            ),
        ]

    def remarks(self) -> list[str]:
        """A sentence for what may be meant: odd files, classes without examples."""
        missing = {
            part: [name for name, count in labels.items() if name and not count]
            for part, labels in self.labels.items()
        }
        odd = [f"{v.name}: {remark}" for v in self.videos for remark in v.remarks]
        return odd + [
            f"{part} has no example of {len(names)} of {len(self.labels[part]) - 1} "
            f"classes: {', '.join(names)}"
            for part, names in missing.items()
            if names
        ]


def check_data_set(index: Index, progress: bool = True) -> Report:
    """Opens every video at five places and compares it with its annotations.

    Two videos of different parts leak when their files are equal, or when what they
    show at the five places differs by less than compression and far less than what
    moves in them: a copy in another format or size.

    Args:
        index: The data set.
        progress: Show a bar while the videos are opened.
    """
    bad_videos = dict(index.bad_videos)
    segments = collections.defaultdict(list)
    for segment in index.segments:
        segments[segment.video].append(segment)

    def look(video):
        try:
            return _look(video, index, segments[video.name])
        except reading.BadVideo as error:
            bad_videos[video.name] = error.reason
            return None

    looks = []
    bar = progress_bar(len(index.videos), "video", progress)
    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        for found in pool.map(look, index.videos.values()):
            bar.add(1)
            if found is not None:
                looks.append(found)
    reports = [report for report, _ in looks]
    thumbnails = {
        report.name: thumbnail for report, thumbnail in looks if thumbnail is not None
    }
    same_file = list(_equal_files(index))
    known = {(leak.first, leak.second) for leak in same_file}
    alike = [
        leak
        for leak in _equal_contents(index, thumbnails)
        if (leak.first, leak.second) not in known
    ]
    return Report(
        videos=reports,
        bad_videos=bad_videos,
        labels=_label_histogram(index),
        leaks=[*same_file, *alike],
        counts=_counts(index),
    )


def _look(video, index, segments):
    """The report of a video and its thumbnails, or None if it cannot be decoded."""
    info = index.infos.get(video.name) or reading.probe(video)
    annotated_s = max((s.end_s for s in segments), default=0.0)
    rate = info.frame_rate
    problem, thumbnails = None, None
    places = np.unique([int(look * len(info.times_s)) for look in _LOOKS])
    try:
        frames = reading.read_frames(
            video, info, places, (_THUMBNAIL_PX, _THUMBNAIL_PX)
        )
        gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        # A video of a few frames gives fewer places.
        thumbnails = np.resize(np.stack(gray), (len(_LOOKS), *gray[0].shape))
    except reading.BadVideo as error:
        problem = f"cannot be decoded ({error.reason})"
    known_s = index.durations_s[video.name]
    if abs(info.duration_s - known_s) > max(_SAME_DURATION_S, _SAME_DURATION * known_s):
        problem = (
            f"its {len(info.times_s)} frames last {info.duration_s:.2f} s at {rate:g} "
            f"per second, and the release says {known_s:.2f} s: frames are missing, or "
            "were taken at another rate"
        )
    elif annotated_s > info.duration_s + 1 / rate:
        problem = (
            f"its last segment ends at {annotated_s:.2f} s, the video at "
            f"{info.duration_s:.2f} s"
        )
    report = VideoReport(
        name=video.name,
        part=video.part,
        num_frames=len(info.times_s),
        frame_rate=round(rate, 3),
        duration_s=float(info.duration_s),
        num_segments=len(segments),
        annotated_s=annotated_s,
        problem=problem,
        remarks=(*info.remarks, *_remarks_on_blanks(info, segments)),
    )
    return report, thumbnails


def _remarks_on_blanks(info, segments):
    """Names the intervals without a picture, and the segments in them."""
    for start_s, end_s in info.blanks_s:
        yield (
            f"the picture starts at {end_s:.2f} s of the file, nothing is seen before"
            if start_s == 0
            else f"no picture comes between {start_s:.2f} s and {end_s:.2f} s"
        )
        for segment in segments:
            if segment.start_s < end_s and segment.end_s > start_s:
                yield (
                    f"the segment {segment.label or '(none)'} of "
                    f"{segment.start_s:.2f} s to {segment.end_s:.2f} s reaches into "
                    f"{start_s:.2f} s to {end_s:.2f} s, which shows no picture"
                )


def _label_histogram(index):
    histogram = {}
    for part in _parts(index):
        counted = collections.Counter(
            segment.label or ""
            for segment in index.segments
            if index.videos[segment.video].part == part
        )
        histogram[part] = {label: counted[label] for label in (*index.classes, "")}
    return histogram


def _counts(index):
    videos = collections.Counter(video.part for video in index.videos.values())
    labeled = collections.Counter(
        index.videos[segment.video].part
        for segment in index.segments
        if segment.label is not None
    )
    return {
        part: {"videos": videos[part], "labeled segments": labeled[part]}
        for part in _parts(index)
    }


def _parts(index):
    found = {video.part for video in index.videos.values()}
    return [part for part in PARTS if part in found]


def _equal_files(index):
    """Leaks of equal bytes; only files of equal size are read."""
    by_size = collections.defaultdict(list)
    for video in index.videos.values():
        path = pathlib.Path(video.path)
        if path.is_file():
            by_size[path.stat().st_size].append(video)
    for videos in by_size.values():
        if len({video.part for video in videos}) < 2:
            continue
        by_content = collections.defaultdict(list)
        for video in videos:
            with open(video.path, "rb") as file:
                key = hashlib.file_digest(file, "sha256").digest()
            by_content[key].append(video)
        for equal in by_content.values():
            for one, other in itertools.combinations(equal, 2):
                if one.part != other.part:
                    yield _leak(one, other, "the same file under two names")


def _equal_contents(index, thumbnails):
    videos = [video for video in index.videos.values() if video.name in thumbnails]
    if not videos:
        return
    shown = np.stack([thumbnails[video.name] for video in videos])
    motion = np.array([np.abs(each - each.mean(axis=0)).mean() for each in shown])
    # Means of blocks differ by no more than their pixels do, and are far fewer.
    num_blocks = _THUMBNAIL_PX // _BLOCK_PX
    blocks = shown.reshape(-1, num_blocks, _BLOCK_PX, num_blocks, _BLOCK_PX)
    blocks = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(videos), -1)
    parts = np.array([video.part for video in videos])
    for number, video in enumerate(videos[:-1]):
        others = number + 1 + np.flatnonzero(parts[number + 1 :] != video.part)
        block_gaps = np.abs(blocks[others] - blocks[number]).mean(axis=1)
        others = others[block_gaps < _COMPRESSION]
        gaps = np.abs(shown[others].astype(np.float32) - shown[number])
        gaps = gaps.mean(axis=(1, 2, 3))
        moves = np.minimum(motion[others], motion[number])
        alike = (gaps < _COMPRESSION) & (gaps < _PART_OF_MOTION * moves)
        for place in np.flatnonzero(alike):
            reason = (
                f"the same content, {gaps[place]:.1f} of 255 gray levels apart where "
                f"{moves[place]:.1f} move"
            )
            yield _leak(video, videos[others[place]], reason)


def _leak(one, other, reason):
    return Leak(one.name, other.name, (one.part, other.part), reason)
