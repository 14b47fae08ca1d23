"""Clips of features, read when they are asked for."""

from collections.abc import Mapping

import numpy as np

from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.features.stores import FeatureStore, map_shape
from kd_keras.data.video.frame_times import frame_indices
from kd_keras.data.video.info import BadVideo, Video, VideoInfo


class FeatureLoader(ClipLoader):
    """A `ClipLoader` whose clips are float32 (num_frames, height, width, channels).

    Args:
        videos: By the name that clips call them.
        store: Holds their features.
        clip_format: The shape to read into.
        infos: What `stores.probe` found out, by name.
        cache: "memory" or "off", as `ClipLoader` takes it.
        max_bad_videos: As `ClipLoader` takes it.
    """

    def __init__(
        self,
        videos: Mapping[str, Video],
        store: FeatureStore,
        clip_format: FeatureFormat,
        infos: Mapping[str, VideoInfo],
        cache: str = "off",
        max_bad_videos: float = 0.01,
    ):
        if cache == "disk":
            raise ValueError(
                "The features lie on a disk already. Use cache='memory' or 'off'."
            )
        super().__init__(videos, clip_format, cache, None, max_bad_videos, infos=infos)
        self._store = store

    def paths(self):
        return [self._store.path(name) for name in self.videos]

    def estimate_bytes(self, clips) -> int:
        return len(set(clips)) * self.clip_format.blank_clip.nbytes

    def flow_info(self, name):
        return None

    def _decode(self, clip):
        info, wanted = self.info(clip.video), self.clip_format
        try:
            indices = frame_indices(
                info.times_s,
                info.duration_s,
                clip.start_s,
                clip.end_s,
                wanted.num_frames,
                wanted.short_clip,
            )
        except ValueError as error:
            raise ValueError(f"{clip.video}: {error}") from error
        steps = self._store.read(clip.video, indices).astype(np.float32)
        shape = map_shape(steps.shape[1:], clip.video)
        if shape != wanted.input_shape[1:]:
            raise BadVideo(
                clip.video,
                f"a time step has the shape {shape}, others {wanted.input_shape[1:]}",
            )
        if not np.isfinite(steps).all():
            raise BadVideo(clip.video, "some of its features are no finite numbers")
        return steps.reshape(wanted.input_shape)
