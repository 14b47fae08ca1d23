"""Clips as JPEG frames in shards: written once, read instead of the videos."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np

from kd_keras.data import media_sequence, shards
from kd_keras.data import video as video_lib
from kd_keras.data.clips import ClipFormat
from kd_keras.data.segments import Clip, Video
from kd_keras.data.shard_writer import Made
from kd_keras.data.video import BadVideo

KIND = "clips"

# Frames that are decoded at a time, unless a group of pictures is longer: 50 MB of
# 256x256 pixels.
_FRAMES_AT_A_TIME = 256
_MOST_FRAMES_AT_A_TIME = 1024


def clip_key(clip: Clip) -> tuple:
    """The key of a clip's record."""
    return clip.video, float(clip.start_s), float(clip.end_s)


def clip_units(clips: Iterable[Clip], clips_per_shard: int = 128) -> list[list[tuple]]:
    """Cuts the clips into the work of each shard; clips of a video lie together."""
    keys = sorted({clip_key(clip) for clip in clips})
    return [list(unit) for unit in _batched(keys, clips_per_shard)]


class ClipRecorder:
    """Makes the records of clips.

    Every frame that several clips of a shard show is decoded and encoded once, and no
    frame is decoded twice where the shard reads past a key frame.

    Args:
        videos: By name.
        infos: `VideoInfo` by name.
        clip_format: Frames have its resized size; the crop is the reader's.
        jpeg_quality: From 1 to 100.
        labels: (class index, class name) by clip, where all who show it agree.
    """

    def __init__(
        self,
        videos: Mapping[str, Video],
        infos: Mapping[str, video_lib.VideoInfo],
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

    def __call__(self, unit: Sequence[tuple]) -> Made:
        """The records of a shard; videos that cannot be read are left out."""
        made = Made([])
        made.records = self._records(unit, made.left_out)
        return made

    def _records(self, unit, left_out):
        for name, keys in itertools.groupby(unit, key=lambda key: key[0]):
            try:
                yield from self._records_of_video(name, list(keys))
            except BadVideo as error:
                left_out[name] = error.reason

    def _records_of_video(self, name, keys):
        video = self._videos[name]
        info = self._infos.get(name) or video_lib.probe(video)
        shown = {key: self._frames_of(info, key) for key in keys}
        wanted = np.unique(np.concatenate([*shown.values()]))
        size = self._format.resized(info.height, info.width)
        # All before the first: a video gives all of its records or none.
        images = dict(self._encoded(video, info, wanted, size))
        for key, indices in shown.items():
            yield key, self._record(key, info, indices, images, size)

    def _frames_of(self, info, key):
        name, start_s, end_s = key
        try:
            return video_lib.frame_indices(
                info.times_s,
                info.duration_s,
                start_s,
                end_s,
                self._format.num_frames,
                self._format.short_clip,
            )
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def _encoded(self, video, info, wanted, size):
        """Yields (index, JPEG) of the frames."""
        height, width = size
        for indices in _runs(wanted, info.key_frames):
            frames = video_lib.read_frames(video, info, indices, (width, height))
            for index, frame in zip(indices, frames, strict=True):
                yield int(index), encode_jpeg(frame, self._quality)

    def _record(self, key, info, indices, images, size):
        name, start_s, end_s = key
        stored, frame_index = np.unique(indices, return_inverse=True)
        label_index, label_string = self._labels.get(key, (None, None))
        return media_sequence.encode_clip(
            example_id=f"{name}|{start_s!r}|{end_s!r}",
            data_path=name,
            start_s=start_s,
            end_s=end_s,
            images=media_sequence.Images(
                encoded=[images[int(index)] for index in stored],
                times_s=info.times_s[stored],
                height=size[0],
                width=size[1],
                frame_index=frame_index,
            ),
            label_index=label_index,
            label_string=label_string,
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
        shards.check_made_from(
            records.folder,
            {"made_from": records.made_from},
            format_values(clip_format),
            only_given=True,
        )
        self.clip_format = clip_format
        self.bad_videos = dict(records.left_out)
        self.records = records

    def __contains__(self, clip: Clip) -> bool:
        """Whether the records hold the clip, or say why they do not."""
        return clip_key(clip) in self.records or clip.video in self.bad_videos

    def load(self, clip: Clip) -> np.ndarray:
        """Frames of a clip: uint8 RGB (num_frames, height, width, 3).

        Raises:
            BadVideo: The video could not be read.
            CorruptShard: The record changed; names the shard and what mends it.
        """
        key = clip_key(clip)
        if key not in self.records and clip.video in self.bad_videos:
            raise BadVideo(clip.video, self.bad_videos[clip.video])
        images = media_sequence.parse_images(self.records.read(key))
        frames = np.empty(
            (len(images.encoded), images.height, images.width, 3), np.uint8
        )
        for frame, image in zip(frames, images.encoded, strict=True):
            frame[:] = decode_jpeg(image)
        repeated = len(images.frame_index) > len(frames)
        return frames[images.frame_index] if repeated else frames


def format_values(clip_format: ClipFormat) -> dict:
    """What identifies a clip format in an index."""
    return {
        f"clip_format.{name}": value
        for name, value in dataclasses.asdict(clip_format).items()
    }


def encode_jpeg(frame: np.ndarray, quality: int) -> bytes:
    """uint8 RGB (height, width, 3) -> JPEG."""
    bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def decode_jpeg(image: bytes) -> np.ndarray:
    """JPEG -> uint8 RGB (height, width, 3)."""
    frame = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
    if frame is None:
        raise ValueError("A stored frame is no JPEG.")
    return frame


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
