"""Reads segments of videos whose features another network extracted."""

import dataclasses
import logging
import os
import pathlib

from kd_keras.data.csv_table import read_table
from kd_keras.data.features import stores
from kd_keras.data.readers import csv_videos
from kd_keras.data.segments import Index
from kd_keras.data.video.info import BadVideo, Video, VideoInfo

# Of a video's time, before the end of its last segment.
_LEAST_COVERED = 0.5


def read_features(
    annotations: str | os.PathLike,
    store: stores.FeatureStore,
    rate: float,
    max_bad_videos: float = 0.01,
    progress: bool = True,
    refuse_contradictions: bool = False,
) -> Index:
    """Reads the annotations and finds the features of every video that they name.

    Most videos decide the shape of a time step. A video of another shape is skipped,
    and so is a video without features.

    Args:
        annotations: A CSV file as `csv_videos.read_csv` takes it. A video is the name
            under which the store has its features, for a .npy file with or without its
            ending.
        store: What `stores.open_store` opened.
        rate: Time steps of the features per second.
        max_bad_videos, progress, refuse_contradictions: As `read_csv` takes them.
    Raises:
        ValueError: As `read_csv`, or if `rate` is not positive.
    """
    if not rate > 0:
        raise ValueError(f"rate must be positive, in time steps a second. Got {rate}.")
    usual = usual_shape(annotations, store)

    def probe(video: Video) -> VideoInfo:
        info = stores.probe(store, video, rate)
        shape = stores.map_shape(store.shape(video.name), video.name)
        if shape != usual:
            raise BadVideo(
                video.name,
                f"a time step has the shape {shape} (height, width, channels), and "
                f"most videos have {usual}",
            )
        return info

    index = csv_videos.read_csv(
        annotations,
        # Names are not looked up there; they only have to stay below it.
        pathlib.Path(annotations).parent,
        max_bad_videos,
        progress,
        refuse_contradictions,
        probe=probe,
    )
    _warn_of_late_ends(annotations, index, rate)
    videos = {
        name: dataclasses.replace(video, path=store.path(name))
        for name, video in index.videos.items()
    }
    _refuse_two_names(annotations, videos)
    return dataclasses.replace(index, videos=videos)


def usual_shape(
    annotations: str | os.PathLike, store: stores.FeatureStore
) -> tuple[int, int, int] | None:
    """(height, width, channels) of a time step in most videos of the annotations.

    None if no video has features.

    Raises:
        ValueError: If the annotations cannot be read.
    """
    names = read_table(annotations, ("video",), lambda _, row: row["video"])
    return stores.usual_shape(store, dict.fromkeys(names))


def _refuse_two_names(annotations, videos):
    """With and without its ending, one file would be two videos, even in two parts."""
    first: dict[pathlib.Path, str] = {}
    for name, video in videos.items():
        other = first.setdefault(video.path, name)
        if other != name and video.path.suffix == ".npy":
            raise ValueError(
                f"{annotations} has {other!r} and {name!r}, which are both "
                f"{video.path}; write one of the two names in all rows."
            )


def _warn_of_late_ends(annotations, index, rate):
    """Warns if the features of every video go on long after its last segment."""
    ends_s: dict[str, float] = {}
    for segment in index.segments:
        ends_s[segment.video] = max(segment.end_s, ends_s.get(segment.video, 0))
    covered = {name: end / index.durations_s[name] for name, end in ends_s.items()}
    name = max(covered, key=covered.__getitem__)
    if covered[name] < _LEAST_COVERED:
        logging.getLogger(__name__).warning(
            "%s: no segment reaches the second half of the features of its video. "
            "Those of %s are %d time steps, which last %g s at %g a second. If that is "
            "too long, give a higher feature_rate; if the first axis of the arrays is "
            "not the time, transpose them.",
            annotations,
            name,
            len(index.infos[name].times_s),
            index.durations_s[name],
            rate,
        )
