"""Finds the videos of a large release below a folder, opening as few as it can."""

import logging
import os
import pathlib
from collections.abc import Collection, Mapping

from kd_keras.data.bad_videos import num_allowed
from kd_keras.data.readers.probing import skip_bad_videos, try_videos
from kd_keras.data.segments import Index
from kd_keras.data.video import file_kinds
from kd_keras.data.video.info import Video

_RANKS = (
    dict.fromkeys(file_kinds.COMPRESSED_TARS, 3)
    | dict.fromkeys(file_kinds.VIDEOS, 2)
    | {file_kinds.TAR: 1}
)
# Optical flow has the names of the videos that it was computed from, as have the images
# in which EPIC-KITCHENS-55 marked objects, which are few of the frames.
_NOT_FRAMES = ("flow", "flow_frames", "object_detection_images")


def find_media(
    root: str | os.PathLike, names: Collection[str]
) -> dict[str, pathlib.Path]:
    """Returns where each video is: a folder of frames, a tar of frames, or a file.

    Searches every folder below `root`, through links, but none that is called `flow`,
    `flow_frames` or `object_detection_images`, and none that is a video itself, whose
    frames may be very many. Of several finds of one name a folder goes before a tar, a
    tar before a file, that before a compressed tar, which nothing can be read from, and
    then the first path. `file_kinds` says what is a tar or a video file.

    Args:
        names: Of the videos: the name of the folder, or of the file without its suffix.
    Returns:
        Paths by name; names without a video are not among them.
    """
    names, found, seen = frozenset(names), {}, set()

    def note(rank, path, name):
        found[name] = min(found.get(name, (rank, path)), (rank, path))

    for folder, folders, files in os.walk(root, followlinks=True):
        here = os.path.realpath(folder)
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        for name in names.intersection(folders):
            note(0, os.path.join(folder, name), name)
        folders[:] = [
            name
            for name in folders
            if name not in names
            and name not in _NOT_FRAMES
            and not name.startswith(".")
        ]
        for file in files:
            stem, suffix = file_kinds.split_suffix(file)
            if stem in names and suffix in _RANKS:
                note(_RANKS[suffix], os.path.join(folder, file), stem)
    return {name: pathlib.Path(path) for name, (_, path) in found.items()}


def open_release(
    root: str | os.PathLike,
    parts: Mapping[str, str],
    durations_s: Mapping[str, float],
    frame_rates: Mapping[str, float],
    max_bad_videos: float = 0.01,
    progress: bool = True,
) -> Index:
    """Finds the videos that a release's annotations name, opening few of them.

    A video whose duration is known is only looked for: opening every video of a large
    release takes hours. The others are probed.

    Args:
        root: Folder below which the videos are.
        parts: `train`, `val` or `test` of every video that the annotations name.
        durations_s: By name, of the videos whose duration is known.
        frame_rates: Frames per second of folders and tars of frames.
        max_bad_videos: Fraction of the videos that may be missing or unreadable (one
            always may; 0 allows none).
        progress: Print a line to stderr now and then while videos are opened.
    Returns:
        An index without classes and segments.
    Raises:
        ValueError: If too many videos are missing or cannot be read.
    """
    allowed = num_allowed(max_bad_videos, len(parts))
    if not os.path.isdir(root):
        raise ValueError(f"data_root {root} is not a folder.")
    paths = find_media(root, parts)
    reasons = {
        name: _missing_reason(root, paths.get(name))
        or _without_a_rate(paths[name], frame_rates.get(name))
        for name in parts
    }
    bad_videos = {name: reason for name, reason in reasons.items() if reason}
    videos = {
        name: Video(name, paths[name], part, _rate(paths[name], frame_rates.get(name)))
        for name, part in parts.items()
        if name not in bad_videos
    }
    unknown = [video for name, video in videos.items() if name not in durations_s]
    infos, unreadable = try_videos(unknown, progress)
    bad_videos |= unreadable
    skip_bad_videos(bad_videos, allowed, len(parts))
    known = {name: info.duration_s for name, info in infos.items()} | {**durations_s}
    readable = [name for name in videos if name not in bad_videos]
    return Index(
        classes=(),
        videos={name: videos[name] for name in readable},
        durations_s={name: float(known[name]) for name in readable},
        segments=(),
        bad_videos=bad_videos,
        infos=infos,
    )


def compare_with_published(
    release: str, index: Index, published: Mapping[str, int]
) -> None:
    """Warns if an index has other numbers of segments than were published.

    Args:
        release: Its name, for the message.
        published: The number of segments by part.
    """
    parts = [index.videos[segment.video].part for segment in index.segments]
    counts = {part: parts.count(part) for part in published}
    if counts != published:
        logging.getLogger(__name__).warning(
            "%s has %s segments here; the release has %s. Accuracies do not compare "
            "with published ones.",
            release,
            " and ".join(f"{number} {part}" for part, number in counts.items()),
            " and ".join(map(str, published.values())),
        )


def _missing_reason(root, path):
    """Says why a video cannot be there, or nothing."""
    if path is None:
        return (
            "there is neither a folder nor a tar of frames nor a video of this name "
            f"below {root}"
        )
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                return None if any(entries) else f"the folder {path} is empty"
        if not path.stat().st_size:
            return f"{path} is empty (0 bytes)"
        return file_kinds.problem(path)
    except OSError as error:
        return str(error)


def _without_a_rate(path, frame_rate):
    """Says that frames need a rate, or nothing."""
    if frame_rate or not _holds_frames(path):
        return None
    return (
        f"{path} holds frames, and the release's list of videos, such as THUMOS14's "
        "video_info.json, does not say how many a second: list its fps and duration, "
        "or bring the video file"
    )


def _rate(path, frame_rate):
    """Of frames alone; a video file knows the time of each of its own."""
    return frame_rate if _holds_frames(path) else None


def _holds_frames(path):
    return path.is_dir() or file_kinds.is_tar(path)
