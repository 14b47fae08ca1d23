"""Opens every video of a data set once, and collects the ones that cannot be read."""

import concurrent.futures
import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping

from kd_keras.data.video.info import BadVideo, Video, VideoInfo
from kd_keras.data.video.reading import probe

_PROGRESS_EVERY_S = 10.0
_NUM_SHOWN = 5


def probe_videos(
    videos: Iterable[Video],
    max_bad_videos: float = 0.01,
    progress: bool = True,
    places: Mapping[str, str] | None = None,
) -> tuple[dict[str, VideoInfo], dict[str, str]]:
    """Probes the videos, one thread per core, and skips the few that are broken.

    Args:
        videos: With names that differ.
        max_bad_videos: Fraction of the videos that may be unreadable, in [0, 1]. One
            video may always be, so that a small data set survives a broken file;
            0 allows none.
        progress: Print a line to stderr every ten seconds.
        places: Where the annotations name each video, for messages.
    Returns:
        What each readable video holds, by name, and the reason by name of each video
        that was skipped; both in the order of `videos`.
    Raises:
        ValueError: If more videos than allowed, or all, cannot be read.
    """
    check_fraction(max_bad_videos)
    videos = list(videos)
    infos, bad_videos = try_videos(videos, progress)
    if places:
        bad_videos = {
            name: f"{reason}; named in {places[name]}"
            for name, reason in bad_videos.items()
        }
    skip_bad_videos(bad_videos, len(videos), max_bad_videos)
    return infos, bad_videos


def try_videos(
    videos: Iterable[Video], progress: bool = True
) -> tuple[dict[str, VideoInfo], dict[str, str]]:
    """Returns what `probe_videos` does, however many videos cannot be read."""
    infos, bad_videos = {}, {}
    videos = list(videos)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_probe_or_reason, videos)
        results = _report(results, len(videos), progress)
        for video, result in zip(videos, results, strict=True):
            (bad_videos if isinstance(result, str) else infos)[video.name] = result
    return infos, bad_videos


def skip_bad_videos(
    bad_videos: Mapping[str, str], num_videos: int, max_bad_videos: float
) -> None:
    """Warns of each video that is skipped; raises if too many are.

    Args:
        bad_videos: Reason by name.
        num_videos: Of the whole data set.
        max_bad_videos: As in `probe_videos`.
    Raises:
        ValueError: If more videos than allowed, or all, cannot be read.
    """
    _check_bad_videos(bad_videos, num_videos, max_bad_videos)
    for name, reason in bad_videos.items():
        logging.getLogger(__name__).warning("Skipping video %s: %s", name, reason)


def check_fraction(max_bad_videos: float) -> None:
    """Raises a ValueError unless this is a fraction."""
    if not 0 <= max_bad_videos <= 1:
        raise ValueError(
            "max_bad_videos must be a fraction of the videos, from 0 to 1. Got "
            f"{max_bad_videos}."
        )


def _probe_or_reason(video):
    try:
        return probe(video)
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


def _check_bad_videos(bad_videos, num_videos, max_bad_videos):
    # The small addend undoes floating error: 0.29 * 100 is 28.999999999999996.
    allowed = int(max_bad_videos * num_videos + 1e-9)
    if max_bad_videos > 0:
        allowed = max(1, allowed)
    if len(bad_videos) <= allowed and len(bad_videos) < max(1, num_videos):
        return
    shown = [f"  {name}: {reason}" for name, reason in bad_videos.items()][:_NUM_SHOWN]
    if len(bad_videos) > len(shown):
        shown.append(f"  ... and {len(bad_videos) - len(shown)} more")
    raise ValueError(
        f"{len(bad_videos)} of {num_videos} videos cannot be read; max_bad_videos="
        f"{max_bad_videos:g} lets {allowed} be skipped, and one must be left. Repair "
        "them, take them out of the annotations, or raise max_bad_videos:\n"
        + "\n".join(shown)
    )
