"""Clips as arrays: one shape for all, decoded once, bad videos set aside."""

import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import math
import os
import pathlib
import sys
import threading
from collections.abc import Iterable, Mapping

import keras
import numpy as np

from kd_keras.data import video as video_lib
from kd_keras.data.segments import Clip, Video

FITS = ("crop", "stretch")
CACHES = ("memory", "disk", "off")

# Part of every key of the disk cache: raise it when the same clip reads differently.
_CACHE_VERSION = 1

_log = logging.getLogger(__name__)


class TooManyBadVideos(ValueError):
    """So many videos cannot be read that something else must be wrong."""


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """The shape of a clip, and how a video is brought into it.

    Frames are first resized with the whole picture kept, by averaging areas: "crop"
    makes the shorter side `resized_side` pixels and keeps the aspect ratio (the longer
    side is rounded to the nearest pixel, halves up), "stretch" makes both sides that
    long. A square of `image_size` is then cut out: a random one in training, the
    central one (offset (side - image_size) // 2) in evaluation and in serving.

    Attributes:
        num_frames: Of every clip, whatever its duration.
        image_size: Height and width in pixels of what a network sees.
        fit: "crop" or "stretch".
        short_clip: What a clip with fewer frames than `num_frames` gives; see
            `video.frame_indices`.
        margin: `resized_side` / `image_size`, at least 1; 1 cuts nothing off.
    """

    num_frames: int = 16
    image_size: int = 112
    fit: str = "crop"
    short_clip: str = "resample"
    margin: float = 8 / 7

    def __post_init__(self):
        if self.num_frames < 1 or self.image_size < 1:
            raise ValueError(
                "num_frames and image_size must be at least 1. Got "
                f"{self.num_frames} and {self.image_size}."
            )
        if self.fit not in FITS:
            raise ValueError(f"fit must be one of {FITS}. Got {self.fit!r}.")
        if self.short_clip not in video_lib.SHORT_CLIPS:
            raise ValueError(
                f"short_clip must be one of {video_lib.SHORT_CLIPS}. Got "
                f"{self.short_clip!r}."
            )
        if not 1 <= self.margin < math.inf:
            raise ValueError(f"margin must be at least 1. Got {self.margin}.")

    @property
    def resized_side(self) -> int:
        """Pixels of the shorter side before the square is cut out."""
        return math.floor(self.image_size * self.margin + 0.5)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a frame of this height and width is resized to."""
        side, short = self.resized_side, min(height, width)
        if self.fit == "stretch":
            return side, side
        return (
            (2 * height * side + short) // (2 * short),
            (2 * width * side + short) // (2 * short),
        )


class ClipLoader:
    """Reads clips in one format, from several threads at a time.

    A video that cannot be decoded is noted in `bad_videos` and logged once; its clips
    raise `BadVideo` from then on.

    Args:
        videos: By the name that clips call them.
        clip_format: The shape to read into.
        cache: "memory" keeps every clip that was read, as uint8 (`estimate_bytes`
            says how much that is); "disk" keeps them as .npy files under `cache_dir`,
            for the next run too; "off" decodes every time.
        cache_dir: Folder of the disk cache. Many formats and data sets may share it.
        max_bad_fraction: Share of the videos that may turn out bad, in [0, 1]. One
            always may, unless it is 0. Beyond that `load` raises `TooManyBadVideos`.
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
        max_bad_fraction: float = 0.01,
        infos: Mapping[str, video_lib.VideoInfo] | None = None,
    ):
        if cache not in CACHES:
            raise ValueError(f"cache must be one of {CACHES}. Got {cache!r}.")
        if cache == "disk" and cache_dir is None:
            raise ValueError("cache='disk' needs a cache_dir to keep the clips in.")
        if not 0 <= max_bad_fraction <= 1:
            raise ValueError(
                f"max_bad_fraction must lie in [0, 1]. Got {max_bad_fraction}."
            )
        self.videos = dict(videos)
        self.clip_format = clip_format
        self.cache = cache
        self.cache_dir = None if cache_dir is None else pathlib.Path(cache_dir)
        # The addend undoes float error: 0.29 * 100 is 28.999999999999996.
        allowed = math.floor(max_bad_fraction * len(self.videos) + 1e-9)
        self.max_bad_videos = max(1, allowed) if max_bad_fraction else 0
        self.bad_videos: dict[str, str] = {}
        self._infos = dict(infos) if infos is not None else {}
        self._clips: dict[Clip, np.ndarray] = {}
        self._lock = threading.Lock()

    def load(self, clip: Clip) -> np.ndarray:
        """Frames of a clip: uint8 RGB (num_frames, height, width, 3), read-only.

        Height and width are `clip_format.resized` of the video's.

        Raises:
            BadVideo: The video cannot be decoded.
            TooManyBadVideos: Neither can too many others.
            ValueError: The clip is too short and `short_clip` is "error".
        """
        frames = self._clips.get(clip)
        if frames is None:
            try:
                frames = self._from_disk(clip) if self.cache == "disk" else None
                if frames is None:
                    frames = self._decode(clip)
                    if self.cache == "disk":
                        _write_array(self._cache_path(clip), frames)
            except video_lib.BadVideo as error:
                self._note_bad_video(clip.video, error.reason)
                raise
            frames.setflags(write=False)
            if self.cache == "memory":
                self._clips[clip] = frames
        return frames

    def warm_up(
        self,
        clips: Iterable[Clip],
        num_threads: int | None = None,
        progress: bool = True,
    ) -> None:
        """Reads clips into the cache, several at a time, with a progress bar."""
        clips = list(dict.fromkeys(clips))
        if not clips or self.cache == "off":
            return
        bar = keras.utils.Progbar(
            len(clips),
            verbose=(1 if sys.stdout.isatty() else 2) if progress else 0,
            unit_name="clip",
        )
        with concurrent.futures.ThreadPoolExecutor(num_threads or num_cores()) as pool:
            reads = [pool.submit(self._try_load, clip) for clip in clips]
            try:
                for read in concurrent.futures.as_completed(reads):
                    read.result()
                    bar.add(1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def estimate_bytes(self, clips: Iterable[Clip]) -> int:
        """Bytes that the cache takes for these clips; bad videos count as 0."""
        total = 0
        for clip in set(clips):
            try:
                info = self.info(clip.video)
            except video_lib.BadVideo as error:
                self._note_bad_video(clip.video, error.reason)
                continue
            height, width = self.clip_format.resized(info.height, info.width)
            total += self.clip_format.num_frames * height * width * 3
        return total

    def info(self, name: str) -> video_lib.VideoInfo:
        """Times and size of a video, probed once."""
        if name in self.bad_videos:
            raise video_lib.BadVideo(name, self.bad_videos[name])
        if name not in self._infos:
            self._infos[name] = video_lib.probe(self._video(name))
        return self._infos[name]

    def _decode(self, clip):
        info = self.info(clip.video)
        if clip.start_s >= info.duration_s:
            raise video_lib.BadVideo(
                clip.video,
                f"it lasts {info.duration_s:.3f} s, and the annotations ask for a clip "
                f"at {clip.start_s:.3f} s",
            )
        try:
            indices = video_lib.frame_indices(
                info.times_s,
                info.duration_s,
                clip.start_s,
                clip.end_s,
                self.clip_format.num_frames,
                self.clip_format.short_clip,
            )
        except ValueError as error:
            raise ValueError(f"{clip.video}: {error}") from error
        height, width = self.clip_format.resized(info.height, info.width)
        video = self._video(clip.video)
        return video_lib.read_frames(video, info, indices, (width, height))

    def _video(self, name):
        if name not in self.videos:
            raise ValueError(
                f"This loader has no video {name!r} among its {len(self.videos)}."
            )
        return self.videos[name]

    def _note_bad_video(self, name, reason):
        with self._lock:
            if name not in self.bad_videos:
                self.bad_videos[name] = reason
                _log.warning(
                    "Left out a video that cannot be read: %s: %s", name, reason
                )
            if len(self.bad_videos) > self.max_bad_videos:
                listed = "\n  ".join(f"{n}: {r}" for n, r in self.bad_videos.items())
                raise TooManyBadVideos(
                    f"{len(self.bad_videos)} of {len(self.videos)} videos cannot be "
                    f"read; at most {self.max_bad_videos} may be left out. Mend or "
                    f"remove them, or raise max_bad_fraction:\n  {listed}"
                )

    def _try_load(self, clip):
        try:
            # The memory cache keeps it; on disk nothing stays in memory.
            self.load(clip)
        except TooManyBadVideos:
            raise
        except video_lib.BadVideo:
            pass

    def _from_disk(self, clip):
        """The stored clip; None when there is none that is whole."""
        path = self._cache_path(clip)
        try:
            frames = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, OSError, EOFError) as error:
            _log.warning("Making the damaged %s again (%s)", path, error)
            return None
        usable = frames.dtype == np.uint8 and frames.ndim == 4
        return frames if usable and len(frames) == self.clip_format.num_frames else None

    def _cache_path(self, clip):
        """Named after all that the frames depend on, so nothing old is ever read."""
        video = self._video(clip.video)
        try:
            status = os.stat(video.path)
        except OSError as error:
            raise video_lib.BadVideo(clip.video, f"{error}") from error
        made_from = {
            "version": _CACHE_VERSION,
            "video": clip.video,
            "path": os.path.abspath(video.path),
            "frame_rate": video.frame_rate,
            "bytes": status.st_size,
            "changed_ns": status.st_mtime_ns,
            "interval_s": (float(clip.start_s), float(clip.end_s)),
            "format": dataclasses.asdict(self.clip_format),
        }
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        return self.cache_dir / key[:2] / f"{key[2:40]}.npy"


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write_array(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, array)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
