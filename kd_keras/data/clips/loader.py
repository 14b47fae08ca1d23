"""Clips as arrays: one shape for all, decoded once, bad videos set aside."""

import hashlib
import json
import logging
import os
import pathlib
import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import numpy as np

from kd_keras.data import kept_arrays
from kd_keras.data.bad_videos import num_allowed, refuse_too_many
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.frames import clip_indices, clip_size, files_read, read_clip
from kd_keras.data.segments import Clip
from kd_keras.data.video import reading
from kd_keras.data.video.flow import I3D_FLOW
from kd_keras.data.video.info import Video
from kd_keras.data.video.stored_flow import FlowInfo, probe_flow

CACHES = ("memory", "disk", "off")

# Part of every key of the disk cache: raise it when the same clip reads differently.
_CACHE_VERSION = 3

_log = logging.getLogger(__name__)


class ClipReader(Protocol):
    """What reads clips, wherever they are kept.

    `ClipLoader` decodes them from videos, `RecordLoader` from prepared records, and
    `FeatureLoader` reads features in their place. Batches, evaluation and reports take
    anything that has these attributes and this method.
    """

    @property
    def clip_format(self) -> ClipFormat | FeatureFormat:
        """The shape of the clips."""

    @property
    def bad_videos(self) -> dict[str, str]:
        """Reason by name of the videos that turned out to be unreadable so far."""

    def load(self, clip: Clip) -> np.ndarray:
        """A clip in its format: (num_frames, height, width, channels).

        Frames and flow are uint8 and uncropped; features are float32.

        Raises:
            BadVideo: Its video cannot be read.
        """

    def part(self, names: Collection[str]) -> "ClipReader":
        """A reader of some of the videos, small enough to be sent elsewhere.

        What it finds unreadable it notes for itself alone.
        """

    def paths(self) -> list[str | os.PathLike]:
        """The files and folders that it reads."""


class ClipLoader:
    """Reads clips of videos in one format, from several threads at a time.

    A video that cannot be decoded is noted in `bad_videos` and logged once; its clips
    raise `BadVideo` from then on.

    Args:
        videos: By the name that clips call them.
        clip_format: The shape to read into.
        cache: "memory" keeps every clip that was read, as uint8 (`estimate_bytes`
            says how much that is); "disk" keeps them under `cache_dir` for the next run
            too, as .npy files with a checksum; "off" decodes every time.
        cache_dir: Folder of the disk cache. Many formats and data sets may share it.
        max_bad_videos: Fraction of the videos that may turn out bad, as in
            `num_allowed`. Beyond that `load` raises `TooManyBadVideos`.
        infos: `VideoInfo` by name, of videos that were probed before.

    Attributes:
        bad_videos: Reason by name.
    """

    def __init__(
        self,
        videos: Mapping[str, Video],
        clip_format: ClipFormat,
        cache: str = "memory",
        cache_dir: str | os.PathLike | None = None,
        max_bad_videos: float = 0.01,
        infos: Mapping[str, reading.VideoInfo] | None = None,
    ):
        if cache not in CACHES:
            raise ValueError(f"cache must be one of {CACHES}. Got {cache!r}.")
        if cache == "disk" and cache_dir is None:
            raise ValueError("cache='disk' needs a cache_dir to keep the clips in.")
        self.videos = dict(videos)
        self.clip_format = clip_format
        self.cache = cache
        self.cache_dir = None if cache_dir is None else pathlib.Path(cache_dir)
        self.bad_videos: dict[str, str] = {}
        self._num_bad_allowed = num_allowed(max_bad_videos, len(self.videos))
        self._infos = dict(infos) if infos is not None else {}
        self._flow_infos: dict[str, FlowInfo] = {}
        self._clips: dict[Clip, np.ndarray] = {}
        self._lock = threading.Lock()

    def load(self, clip: Clip) -> np.ndarray:
        """A clip as `read_clip` gives it: uint8 (num_frames, height, width, channels).

        It is kept, and read-only.

        Raises:
            BadVideo: The video cannot be decoded.
            TooManyBadVideos: Neither can too many others.
            ValueError: The clip is too short and `short_clip` is "error".
        """
        self._refuse_bad(clip.video)
        frames = self._clips.get(clip)
        if frames is None:
            try:
                frames = self._from_disk(clip) if self.cache == "disk" else None
                if frames is None:
                    frames = self._decode(clip)
                    if self.cache == "disk":
                        self._keep(self._cache_path(clip), frames)
            except reading.BadVideo as error:
                self._note_bad_video(clip.video, error.reason)
                raise
            frames.setflags(write=False)
            if self.cache == "memory":
                self._clips[clip] = frames
        return frames

    def part(self, names: Collection[str]) -> "ClipLoader":
        """A loader of some of the videos, as `ClipReader` describes it."""
        part = object.__new__(type(self))
        # What is found out about a video is kept for all.
        part.__dict__ |= self.__dict__
        part.videos = {name: self.videos[name] for name in names}
        part.bad_videos = {
            name: self.bad_videos[name] for name in names if name in self.bad_videos
        }
        return part

    def paths(self) -> list[str | os.PathLike]:
        """The files and folders that it reads."""
        return [path for video in self.videos.values() for path in video.paths]

    def __getstate__(self):
        state = self.__dict__ | {"_clips": {}, "_lock": None}
        for infos in ("_infos", "_flow_infos"):
            known = state[infos]
            state[infos] = {name: known[name] for name in self.videos if name in known}
        return state

    def __setstate__(self, state):
        self.__dict__ |= state | {"_lock": threading.Lock()}

    def estimate_bytes(self, clips: Iterable[Clip]) -> int:
        """Bytes that the cache takes for these clips; bad videos count as 0."""
        total = 0
        for clip in set(clips):
            try:
                info, flow_info = self.info(clip.video), self.flow_info(clip.video)
            except reading.BadVideo as error:
                self._note_bad_video(clip.video, error.reason)
                continue
            height, width = clip_size(info, self.clip_format, flow_info)
            pixels = self.clip_format.num_frames * height * width
            total += pixels * self.clip_format.channels
        return total

    def info(self, name: str) -> reading.VideoInfo:
        """Times and size of a video, probed once."""
        self._refuse_bad(name)
        if name not in self._infos:
            self._infos[name] = reading.probe(self._video(name))
        return self._infos[name]

    def flow_info(self, name: str) -> FlowInfo | None:
        """The stored flow of a video, probed once; None if none is to be read."""
        video = self._video(name)
        if self.clip_format.modality != "flow" or video.flow_path is None:
            return None
        if name not in self._flow_infos:
            self._flow_infos[name] = probe_flow(video, self.info(name))
        return self._flow_infos[name]

    def _decode(self, clip):
        video, info = self._video(clip.video), self.info(clip.video)
        if clip.start_s >= info.duration_s:
            raise reading.BadVideo(
                clip.video,
                f"it lasts {info.duration_s:.3f} s, and the annotations ask for a clip "
                f"at {clip.start_s:.3f} s",
            )
        return read_clip(
            video,
            info,
            clip.start_s,
            clip.end_s,
            self.clip_format,
            self.flow_info(clip.video),
        )

    def _video(self, name):
        if name not in self.videos:
            raise ValueError(
                f"This loader has no video {name!r} among its {len(self.videos)}."
            )
        return self.videos[name]

    def _refuse_bad(self, name):
        if name in self.bad_videos:
            raise reading.BadVideo(name, self.bad_videos[name])

    def _note_bad_video(self, name, reason):
        with self._lock:
            if name not in self.bad_videos:
                self.bad_videos[name] = reason
                _log.warning(
                    "Left out a video that cannot be read: %s: %s", name, reason
                )
            refuse_too_many(self.bad_videos, self._num_bad_allowed, len(self.videos))

    def _from_disk(self, clip):
        """The stored clip; None when there is none that is whole."""
        path = self._cache_path(clip)
        try:
            frames = kept_arrays.read_array(path)
        except FileNotFoundError:
            return None
        except (ValueError, OSError, EOFError) as error:
            _log.warning("Making the damaged %s again (%s)", path, error)
            return None
        wanted = self.clip_format.num_frames, self.clip_format.channels
        usable = frames.dtype == np.uint8 and frames.ndim == 4
        return frames if usable and (len(frames), frames.shape[-1]) == wanted else None

    def _keep(self, path, frames):
        try:
            kept_arrays.write_array(path, frames)
        except OSError as error:
            raise OSError(
                f"The disk cache in {self.cache_dir} cannot be written: {error}. Make "
                "room, or name another folder, and give the same command again: what "
                "it holds is found again."
            ) from error

    def _cache_path(self, clip):
        """Named after all that the frames depend on, so nothing old is ever read."""
        video = self._video(clip.video)
        fingerprint = {
            "version": _CACHE_VERSION,
            "video": clip.video,
            "source": _state_of(clip.video, video.path),
            "frame_rate": video.frame_rate,
            "interval_s": (float(clip.start_s), float(clip.end_s)),
            "format": self.clip_format.to_stored(),
        }
        if self.clip_format.modality == "flow" and video.flow_path is not None:
            fingerprint |= {
                "flow": _state_of(clip.video, video.flow_path),
                "flow_encoding": (video.flow_encoding or I3D_FLOW).to_stored(),
                "flow_frame_rate": video.flow_frame_rate,
            }
        # A folder does not change if an image in it is written over.
        if any(os.path.isdir(path) for path in video.paths):
            fingerprint["images"] = [
                _state_of(clip.video, path) for path in self._images(clip)
            ]
        key = hashlib.sha256(
            json.dumps(fingerprint, sort_keys=True).encode()
        ).hexdigest()
        return self.cache_dir / key[:2] / f"{key[2:40]}.npy"

    def _images(self, clip):
        """The images in folders that a clip is read from."""
        info, flow_info = self.info(clip.video), self.flow_info(clip.video)
        indices = clip_indices(
            self._video(clip.video),
            info,
            clip.start_s,
            clip.end_s,
            self.clip_format,
            flow_info,
        )
        return files_read(info, indices, self.clip_format, flow_info)


def _state_of(name, path):
    """What tells a file or folder from what it was before."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise reading.BadVideo(name, f"{error}") from error
    return os.path.abspath(path), status.st_size, status.st_mtime_ns
