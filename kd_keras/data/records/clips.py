"""Clips as images in shards: written once, read instead of the videos.

Frames are JPEGs. Flow is a PNG for each step, with u in its red and v in its green
channel, and loses nothing: one level is more than most things move.
"""

import functools
import itertools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence

import cv2
import numpy as np
import simplejpeg

from kd_keras.data import remote
from kd_keras.data.clips import frames as clip_frames
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.records import media_sequence, shards
from kd_keras.data.records.shard_writer import ShardContents
from kd_keras.data.segments import Clip
from kd_keras.data.video import reading
from kd_keras.data.video.info import BadVideo, Video
from kd_keras.data.video.stored_flow import probe_flow

KIND = "clips"

# Frames that are decoded at a time, unless a group of pictures is longer: 50 MB of
# 256x256 pixels.
_FRAMES_AT_A_TIME = 256
_MOST_FRAMES_AT_A_TIME = 1024


def clip_key(clip: Clip) -> tuple:
    """The key of a clip's record."""
    return clip.video, float(clip.start_s), float(clip.end_s)


def clip_shards(clips: Iterable[Clip], clips_per_shard: int = 128) -> list[list[tuple]]:
    """Cuts the clips into the work of each shard; clips of a video lie together."""
    keys = sorted({clip_key(clip) for clip in clips})
    return [list(some) for some in _batched(keys, clips_per_shard)]


class ClipRecorder:
    """Makes the records of clips.

    Every picture, frame or flow, that several clips of a shard show is decoded or
    computed and encoded once, and no frame is decoded twice where the shard reads past
    a key frame.

    Args:
        videos: By name.
        infos: `VideoInfo` by name.
        clip_format: Pictures have its resized size; the crop is the reader's.
        jpeg_quality: Of frames, from 1 to 100.
        labels: (class index, class name) by clip, if all pairs that show it agree.
    """

    def __init__(
        self,
        videos: Mapping[str, Video],
        infos: Mapping[str, reading.VideoInfo],
        clip_format: ClipFormat,
        jpeg_quality: int = 95,
        labels: Mapping[tuple, tuple[int, str]] | None = None,
    ):
        if not 1 <= jpeg_quality <= 100:
            raise ValueError(
                f"jpeg_quality must lie between 1 and 100. Got {jpeg_quality}."
            )
        self._videos, self._infos = videos, infos
        self._format, self._quality = clip_format, jpeg_quality
        self._labels = {} if labels is None else labels

    # Nothing is so large that it is sent to another process apart from the jobs.
    shared = None

    def __call__(self, keys: Sequence[tuple]) -> ShardContents:
        """The records of a shard; videos that cannot be read are left out."""
        made = ShardContents([])
        made.records = self._records(keys, made.left_out)
        return made

    def part(self, keys: Sequence[tuple]) -> "ClipRecorder":
        """A recorder of these keys alone, small enough to be sent elsewhere."""
        names = {key[0] for key in keys}
        return ClipRecorder(
            {name: self._videos[name] for name in names},
            {name: self._infos[name] for name in names if name in self._infos},
            self._format,
            self._quality,
            {key: self._labels[key] for key in keys if key in self._labels},
        )

    def paths(self) -> list[str | os.PathLike]:
        """The files and folders that it reads."""
        return [path for video in self._videos.values() for path in video.paths]

    def _records(self, keys, left_out):
        for name, own in itertools.groupby(keys, key=lambda key: key[0]):
            try:
                yield from self._records_of_video(name, list(own))
            except BadVideo as error:
                left_out[name] = error.reason

    def _records_of_video(self, name, keys):
        video = self._videos[name]
        info = self._infos.get(name) or reading.probe(video)
        flow_info = None
        if self._format.modality == "flow" and video.flow_path is not None:
            flow_info = probe_flow(video, info)
        shown = {
            key: clip_frames.clip_indices(
                video, info, *key[1:], self._format, flow_info
            )
            for key in keys
        }
        wanted = np.unique(np.concatenate([*shown.values()]))
        # All before the first: a video gives all of its records or none.
        images = dict(self._encoded(video, info, wanted, flow_info))
        times_s = clip_frames.picture_times_s(info, self._format, flow_info)
        size = clip_frames.clip_size(info, self._format, flow_info)
        for key, indices in shown.items():
            yield key, self._record(key, indices, times_s, images, size)

    def _encoded(self, video, info, wanted, flow_info):
        """Yields (index, image) of the pictures."""
        for indices in _runs(wanted, info.key_frames if flow_info is None else None):
            pictures = clip_frames.read_pictures(
                video, info, indices, self._format, flow_info
            )
            for index, picture in zip(indices, pictures, strict=True):
                if self._format.modality == "flow":
                    yield int(index), encode_flow(picture)
                else:
                    yield int(index), encode_jpeg(picture, self._quality)

    def _record(self, key, indices, times_s, images, size):
        name, start_s, end_s = key
        stored, frame_index = np.unique(indices, return_inverse=True)
        label_index, label_string = self._labels.get(key, (None, None))
        is_flow = self._format.modality == "flow"
        stream = media_sequence.Images(
            encoded=[images[int(index)] for index in stored],
            # What stands still does so from the start.
            times_s=[0.0 if index < 0 else times_s[index] for index in stored],
            height=size[0],
            width=size[1],
            frame_index=frame_index,
            format="PNG" if is_flow else "JPEG",
        )
        return media_sequence.encode_clip(
            example_id=f"{name}|{start_s!r}|{end_s!r}",
            data_path=name,
            start_s=start_s,
            end_s=end_s,
            label_index=label_index,
            label_string=label_string,
            **{"flow" if is_flow else "images": stream},
        )


class RecordLoader:
    """Reads clips from shards, where `ClipLoader` decodes them from videos.

    Args:
        records: Of clips in this format.
        clip_format: Of the clips.
    Attributes:
        records: As given.
        bad_videos: Reason by name of the videos that could not be read when the
            records were made; their clips raise `BadVideo`.
    """

    def __init__(self, records: shards.Shards, clip_format: ClipFormat):
        shards.check_fingerprint(
            records.folder,
            {"made_from": records.fingerprint},
            format_values(clip_format),
            only_given=True,
        )
        self.clip_format = clip_format
        self.bad_videos = dict(records.left_out)
        self.records = records

    def __reduce__(self):
        # Another process reads the index once, unless the records change.
        content = shards.digest([shard.sha256 for shard in self.records.shards])
        return _opened, (self.records.folder, content, self.clip_format)

    def part(self, names: Collection[str]) -> "RecordLoader":
        """As `ClipLoader.part`; records need no cutting."""
        return self

    def paths(self) -> list[str | os.PathLike]:
        """The file without which it cannot be opened."""
        return [remote.join(self.records.folder, shards.INDEX)]

    def __contains__(self, clip: Clip) -> bool:
        """Whether the records hold the clip, or say why they do not."""
        return clip_key(clip) in self.records or clip.video in self.bad_videos

    def load(self, clip: Clip) -> np.ndarray:
        """A clip as from a `ClipLoader`: uint8 (num_frames, height, width, channels).

        Raises:
            BadVideo: The video could not be read.
            CorruptShard: The record changed; names the shard and what mends it.
        """
        key = clip_key(clip)
        if key not in self.records and clip.video in self.bad_videos:
            raise BadVideo(clip.video, self.bad_videos[clip.video])
        is_flow = self.clip_format.modality == "flow"
        images = media_sequence.parse_images(
            self.records.read(key), media_sequence.FORWARD_FLOW if is_flow else ""
        )
        decode = decode_flow if is_flow else decode_jpeg
        shape = images.height, images.width, self.clip_format.channels
        frames = np.empty((len(images.encoded), *shape), np.uint8)
        for frame, image in zip(frames, images.encoded, strict=True):
            decode(image, frame)
        repeated = len(images.frame_index) > len(frames)
        return frames[images.frame_index] if repeated else frames


@functools.lru_cache(maxsize=2)
def _opened(folder, content, clip_format):
    return RecordLoader(shards.Shards(folder), clip_format)


def format_values(clip_format: ClipFormat | FeatureFormat) -> dict:
    """What identifies a clip format in an index."""
    return {
        f"clip_format.{name}": value for name, value in clip_format.to_stored().items()
    }


def encode_jpeg(frame: np.ndarray, quality: int) -> bytes:
    """uint8 RGB (height, width, 3) -> JPEG."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_flow(levels: np.ndarray) -> bytes:
    """uint8 levels of u and v (height, width, 2) -> PNG; its blue channel is 0."""
    bgr = np.zeros((*levels.shape[:2], 3), np.uint8)
    bgr[..., 2], bgr[..., 1] = levels[..., 0], levels[..., 1]
    return cv2.imencode(".png", bgr)[1].tobytes()


def decode_flow(image: bytes, levels: np.ndarray) -> None:
    """PNG of `encode_flow` -> uint8 levels of u and v (height, width, 2), in place."""
    bgr = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("A stored flow is no image.")
    levels[..., 0], levels[..., 1] = bgr[..., 2], bgr[..., 1]


def decode_jpeg(image: bytes, frame: np.ndarray) -> None:
    """JPEG -> uint8 RGB (height, width, 3), in place."""
    decoded = simplejpeg.decode_jpeg(image, "RGB", buffer=frame)
    if decoded.shape != frame.shape:
        raise ValueError(
            f"A stored frame is {decoded.shape[:2]}; its record says {frame.shape[:2]}."
        )


def _runs(wanted, key_frames):
    """Cuts frames into runs; a cut at a key frame costs no decoding twice."""
    groups = np.arange(len(wanted))
    if key_frames is not None:
        groups = np.searchsorted(key_frames, wanted, "right")
    start = 0
    for end in range(1, len(wanted) + 1):
        at_end = end == len(wanted)
        at_key_frame = at_end or groups[end] != groups[end - 1]
        long = end - start >= _FRAMES_AT_A_TIME
        if at_end or (long and at_key_frame) or end - start >= _MOST_FRAMES_AT_A_TIME:
            yield wanted[start:end]
            start = end


def _batched(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
