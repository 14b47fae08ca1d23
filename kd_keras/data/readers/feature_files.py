"""Reads segments of videos whose features another network extracted."""

import dataclasses
import os
import pathlib

from kd_keras.data.features.stores import FeatureStore, probe
from kd_keras.data.readers import csv_videos
from kd_keras.data.segments import Index


def read_features(
    annotations: str | os.PathLike,
    store: FeatureStore,
    rate: float,
    max_bad_videos: float = 0.01,
    progress: bool = True,
    refuse_contradictions: bool = False,
) -> Index:
    """Reads the annotations and finds the features of every video that they name.

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
    index = csv_videos.read_csv(
        annotations,
        # Names are not looked up there; they only have to stay below it.
        pathlib.Path(annotations).parent,
        max_bad_videos,
        progress,
        refuse_contradictions,
        probe=lambda video: probe(store, video, rate),
    )
    videos = {
        name: dataclasses.replace(video, path=store.path(name))
        for name, video in index.videos.items()
    }
    return dataclasses.replace(index, videos=videos)
