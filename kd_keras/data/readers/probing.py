"""Opens every video of a data set once, and collects the ones that cannot be read."""

import concurrent.futures
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from kd_keras.data.bad_videos import num_allowed, refuse_too_many
from kd_keras.data.video.info import BadVideo, Video, VideoInfo
from kd_keras.data.video.reading import probe

_PROGRESS_EVERY_S = 10.0


def probe_videos(
    videos: Iterable[Video],
    max_bad_videos: float = 0.01,
    progress: bool = True,
    places: Mapping[str, str] | None = None,
    probe_one: Callable[[Video], VideoInfo] | None = None,
) -> tuple[dict[str, VideoInfo], dict[str, str]]:
    """Probes the videos, one thread per core, and skips the few that are broken.

    Args:
        videos: With names that differ.
        max_bad_videos: Fraction of the videos that may be unreadable, as in
            `num_allowed`.
        progress: Print a line to stderr every ten seconds.
        places: Where the annotations name each video, for messages.
        probe_one: Opens what stands for a video; None opens video files.
    Returns:
        What each readable video holds, by name, and the reason by name of each video
        that was skipped; both in the order of `videos`.
    Raises:
        TooManyBadVideos: If more videos than allowed, or all, cannot be read.
    """
    videos = list(videos)
    allowed = num_allowed(max_bad_videos, len(videos))
    infos, bad_videos = try_videos(videos, progress, probe_one)
    if places:
        bad_videos = {
            name: f"{reason}; named in {places[name]}"
            for name, reason in bad_videos.items()
        }
    skip_bad_videos(bad_videos, allowed, len(videos))
    return infos, bad_videos


def try_videos(
    videos: Iterable[Video],
    progress: bool = True,
    probe_one: Callable[[Video], VideoInfo] | None = None,
) -> tuple[dict[str, VideoInfo], dict[str, str]]:
    """Returns what `probe_videos` does, however many videos cannot be read."""
    infos, bad_videos = {}, {}
    videos = list(videos)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda video: _probe_or_reason(video, probe_one), videos)
        results = _report(results, len(videos), progress)
        for video, result in zip(videos, results, strict=True):
            (bad_videos if isinstance(result, str) else infos)[video.name] = result
    return infos, bad_videos


def skip_bad_videos(
    bad_videos: Mapping[str, str], allowed: int, num_videos: int
) -> None:
    """Warns of each video that is skipped.

    Args:
        bad_videos: Reason by name.
        num_videos: Of the whole data set.
    Raises:
        TooManyBadVideos: If more videos than allowed, or all, cannot be read.
    """
    one_is_left = max(0, num_videos - 1)
    refuse_too_many(bad_videos, min(allowed, one_is_left), num_videos)
    for name, reason in bad_videos.items():
        logging.getLogger(__name__).warning("Skipping video %s: %s", name, reason)


def _probe_or_reason(video, probe_one):
    try:
        return probe(video) if probe_one is None else probe_one(video)
    except BadVideo as error:
        return error.reason
    except OSError as error:
        return str(error)


def _report(results, total, progress):
    """Yields the results. Prints the progress if that takes long."""
    last = time.monotonic()
    for done, result in enumerate(results, start=1):
        yield result
        if progress and time.monotonic() - last >= _PROGRESS_EVERY_S:
            last = time.monotonic()
            print(f"Opening videos: {done} of {total}", file=sys.stderr, flush=True)
