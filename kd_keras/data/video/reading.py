"""Reading and writing video, whether a file, a folder or a tar of numbered frames."""

import fractions
import pathlib
import unicodedata
from collections.abc import Iterator, Sequence

import av
import numpy as np

from kd_keras.aside import written_aside
from kd_keras.data.video import file_kinds
from kd_keras.data.video.frame_times import SHORT_CLIPS, frame_indices
from kd_keras.data.video.info import BadVideo, Video, VideoInfo
from kd_keras.data.video.numbered_images import iterate_images, probe_images
from kd_keras.data.video.pyav_frames import iterate_file
from kd_keras.data.video.pyav_probe import probe_file

__all__ = [
    "SHORT_CLIPS",
    "BadVideo",
    "VideoInfo",
    "frame_indices",
    "iterate_frames",
    "probe",
    "read_frames",
    "write_video",
]


def probe(video: Video) -> VideoInfo:
    """Reads the time of every frame and checks that the video can be used.

    The packets of a file are read but not decoded, so variable frame rates, B-frames
    and containers that lie about their duration give the right times. One frame is
    decoded.

    Raises:
        BadVideo: The file, folder or tar is missing or empty, holds no video, ends
            before its header says, or cannot be decoded; a frame number is missing.
    """
    path = pathlib.Path(video.path)
    try:
        if not path.exists():
            raise BadVideo(video.name, f"{path} does not exist{_why_missing(path)}")
        if path.is_dir():
            return probe_images(video, path)
        if not path.stat().st_size:
            raise BadVideo(video.name, f"{path} is empty (0 bytes)")
        if problem := file_kinds.problem(path):
            raise BadVideo(video.name, problem)
        is_tar = file_kinds.is_tar(path)
        return probe_images(video, path) if is_tar else probe_file(video, path)
    except OSError as error:
        raise BadVideo(video.name, str(error)) from error


def read_frames(
    video: Video,
    info: VideoInfo,
    indices: np.ndarray,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Decodes the frames at `indices`, which may repeat and come in any order.

    Decoding starts at the key frame before the first of them, stops at the last, and
    uses one core: several clips at a time are faster than several cores per clip.

    Args:
        info: What `probe` returned for this video.
        size: (width, height) of the result; None is the size of the video. Every
            frame is scaled once, by averaging areas when it shrinks.
    Returns:
        uint8 RGB (len(indices), height, width, 3).
    Raises:
        BadVideo: A frame cannot be decoded.
    """
    indices = _checked(video, info, indices)
    wanted, inverse = np.unique(indices, return_inverse=True)
    width, height = size or (info.width, info.height)
    frames = np.empty((len(wanted), height, width, 3), np.uint8)
    for position, frame in enumerate(_iterate(video, info, wanted, (width, height))):
        frames[position] = frame
    return frames if np.array_equal(wanted, indices) else frames[inverse]


def iterate_frames(
    video: Video,
    info: VideoInfo,
    indices: Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Yields frames one after the other, decoding once and holding one at a time.

    Args:
        info: What `probe` returned for this video.
        indices: Frames that are wanted, in ascending order; they may repeat. None is
            all of them.
        size: As in `read_frames`.
    Yields:
        uint8 RGB (height, width, 3); not to be written to.
    Raises:
        BadVideo: A frame cannot be decoded.
    """
    indices = np.arange(len(info.times_s)) if indices is None else indices
    indices = _checked(video, info, indices)
    if (np.diff(indices) < 0).any():
        raise ValueError(
            "Frames are iterated in ascending order. Got indices that go back; "
            "read_frames takes any order."
        )
    return _iterate(video, info, indices, size or (info.width, info.height))


def write_video(path, frames, frame_rate: float, key_frame_interval: int = 12) -> None:
    """Writes uint8 RGB frames as an H.264 mp4 that any player shows.

    The file appears under its name when it is complete. Odd sizes, which the format
    does not know, are padded by repeating the last row or column.

    Args:
        frames: Array (time, height, width, 3), or an iterable of such frames.
        frame_rate: Frames per second.
        key_frame_interval: Frames from one key frame to the next; small values make
            seeking fast and files large.
    """
    path = pathlib.Path(path)
    if not frame_rate > 0:
        raise ValueError(f"frame_rate must be positive. Got {frame_rate}.")
    with (
        written_aside(path) as aside,
        av.open(str(aside), "w", format="mp4") as container,
    ):
        stream = None
        for frame in frames:
            frame = _even_sized(frame)
            if stream is None:
                rate = fractions.Fraction(frame_rate).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.gop_size = key_frame_interval
                # With several threads, or with x264's macroblock tree, the same
                # frames give other bytes now and then.
                stream.codec_context.thread_count = 1
                stream.options = {"x264-params": "mbtree=0"}
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture))
        if stream is None:
            raise ValueError(f"{path}: there are no frames to write.")
        container.mux(stream.encode())


def _why_missing(path):
    """Names a file that is spelled alike and is another to this system."""
    composed = (unicodedata.normalize(form, str(path)) for form in ("NFC", "NFD"))
    if any(pathlib.Path(spelling).exists() for spelling in composed):
        return (
            "; a file of these letters does, in another form of Unicode (NFC or NFD): "
            "write the name as the system lists it"
        )
    if pathlib.Path(str(path).replace("\\", "/")).exists():
        return ", but it does with / in place of \\: write /"
    return ""


def _checked(video, info, indices):
    indices = np.asarray(indices, np.int64)
    if not len(indices) or indices.min() < 0 or indices.max() >= len(info.times_s):
        raise ValueError(
            f"Frames of {video.name} are numbered from 0 to {len(info.times_s) - 1}. "
            f"Got {indices.tolist()}."
        )
    return indices


def _iterate(video, info, wanted, size):
    iterate = iterate_file if info.images is None else iterate_images
    return iterate(video, info, wanted, size)


def _even_sized(frame):
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
        raise ValueError(
            "Frames must be uint8 RGB (height, width, 3). Got "
            f"{frame.dtype} {frame.shape}."
        )
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return np.ascontiguousarray(frame)
