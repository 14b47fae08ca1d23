"""Reading and writing video: the exact time of every frame, and the frames wanted."""

import contextlib
import dataclasses
import fractions
import itertools
import os
import pathlib
import re

import av
import cv2
import numpy as np

from kd_keras.data.segments import Video

SHORT_CLIPS = ("resample", "loop", "pad_last", "error")

# Float error in a sampled time.
_TIME_ERROR_S = 1e-6
# Matroska and FLV round the times of frames to milliseconds.
_ROUNDING_S = 0.51e-3
# Packets in a row that may hold no picture of their own (hidden reference frames,
# placeholders of packed B-frames): they show the picture before them.
_MAX_PACKETS_WITHOUT_PICTURE = 2
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class BadVideo(ValueError):
    """A video that cannot be used; the message is its name and the reason."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInfo:
    """What `probe` found out; `read_frames` finds its frames with it.

    Attributes:
        times_s: Presentation time of every frame, ascending; the first is 0.
        duration_s: Time of the last frame and the median spacing of the frames.
        height: Of the picture as it is shown: turned upright, with square pixels.
        width: Likewise.
        stamps: What the decoder calls each frame: its timestamp, or its position
            where the container's timestamps cannot be trusted.
        by_position: The latter: frames are counted from the start of the file.
        key_frames: Positions of the frames that decoding can start at.
        images: File names of the frames, for a folder of frames.
    """

    times_s: np.ndarray
    duration_s: float
    height: int
    width: int
    stamps: np.ndarray | None = None
    by_position: bool = False
    key_frames: np.ndarray | None = None
    images: tuple[str, ...] = ()


def probe(video: Video) -> VideoInfo:
    """Reads the time of every frame and checks that the video can be used.

    The packets of a file are read but not decoded, so variable frame rates, B-frames
    and containers that lie about their duration give the right times. One frame is
    decoded.

    Raises:
        BadVideo: The file or folder is missing or empty, holds no video, ends before
            its header says, or cannot be decoded; the folder has a gap.
    """
    path = pathlib.Path(video.path)
    try:
        if not path.exists():
            raise BadVideo(video.name, f"{path} does not exist")
        if path.is_dir():
            return _probe_folder(video, path)
        if not path.stat().st_size:
            raise BadVideo(video.name, f"{path} is empty (0 bytes)")
        return _probe_file(video, path)
    except OSError as error:
        raise BadVideo(video.name, str(error)) from error


def frame_indices(
    times_s: np.ndarray,
    duration_s: float,
    start_s: float,
    end_s: float,
    num_frames: int,
    short_clip: str = "resample",
) -> np.ndarray:
    """Chooses the frames that stand for the interval [start_s, end_s) of a video.

    The interval is cut into `num_frames` equal parts and each part gives the frame
    that is on screen in its middle. Of an interval that holds m frames at a constant
    rate that is frame floor((k + 0.5) m / num_frames) of the interval. Before the
    video starts its first frame is on screen, after it ends the last one.

    No frame at or after `end_s` is ever returned, unless the video starts after it.

    Args:
        times_s: Ascending presentation times, the first 0.
        duration_s: Of the video. Frames are spaced by duration_s / frames when there
            is only one.
        short_clip: What an interval with m < num_frames frames gives: "resample" as
            above, "loop" its frames again and again, "pad_last" its frames and then
            the last one, "error" a ValueError. The time before the video's start
            counts as first frames at the median spacing.
    Returns:
        int64 positions (num_frames,).
    """
    if not end_s > start_s:
        raise ValueError(
            f"A clip must end after it starts. Got start_s={start_s}, end_s={end_s}."
        )
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1. Got {num_frames}.")
    if short_clip not in SHORT_CLIPS:
        raise ValueError(
            f"short_clip must be one of {SHORT_CLIPS}. Got {short_clip!r}."
        )
    spacing_s = _median_spacing(times_s) or duration_s
    rounding_s = min(_ROUNDING_S, spacing_s / 4)
    # The last frame before the end; the frame at the end belongs to what follows.
    last = max(np.searchsorted(times_s, end_s - rounding_s, "left") - 1, 0)
    if short_clip != "resample":
        first = np.searchsorted(times_s, start_s - rounding_s, "left")
        inside = np.arange(first, last + 1)
        if start_s < 0:
            padding_s = min(end_s, 0) - start_s
            inside = np.pad(inside, (int(padding_s / spacing_s + 0.5), 0))
        if len(inside) < num_frames:
            return _short(inside, last, num_frames, short_clip, start_s, end_s)
    middles = start_s + (np.arange(num_frames) + 0.5) * ((end_s - start_s) / num_frames)
    shown = np.searchsorted(times_s, middles + _TIME_ERROR_S, "right") - 1
    return np.clip(shown, 0, last).astype(np.int64)


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
    indices = np.asarray(indices, np.int64)
    if not len(indices) or indices.min() < 0 or indices.max() >= len(info.times_s):
        raise ValueError(
            f"Frames of {video.name} are numbered from 0 to {len(info.times_s) - 1}. "
            f"Got {indices.tolist()}."
        )
    wanted, inverse = np.unique(indices, return_inverse=True)
    width, height = size or (info.width, info.height)
    frames = np.empty((len(wanted), height, width, 3), np.uint8)
    read = _read_images if info.images else _decode
    read(video, info, wanted, frames)
    return frames if np.array_equal(wanted, indices) else frames[inverse]


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
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with av.open(str(partial), "w", format="mp4") as container:
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
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _probe_file(video, path):
    try:
        with av.open(str(path)) as container:
            stream = _picture_stream(video, container)
            stream.codec_context.thread_count = 1
            packets, ends_s = _read_packets(container, stream)
            _check_complete(video, path, container, stream, ends_s)
        with av.open(str(path)) as container:
            stream = _picture_stream(video, container)
            stream.codec_context.thread_count = 1
            frame = next(container.decode(stream), None)
            if frame is None:
                raise BadVideo(video.name, f"{path} has no frame that can be decoded")
            times = _frame_times(container, stream, packets, frame.pts)
            pixel_aspect = stream.sample_aspect_ratio
    except av.error.FFmpegError as error:
        raise BadVideo(video.name, f"{path} cannot be read ({error})") from error
    times_s, stamps, by_position = times
    height, width = frame.height, round(frame.width * (pixel_aspect or 1))
    if frame.rotation % 180:
        height, width = width, height
    key_stamps = [pts for pts, _, is_key in packets if is_key and pts is not None]
    return VideoInfo(
        times_s=times_s,
        duration_s=float(times_s[-1]) + _spacing(times_s, stream),
        height=height,
        width=width,
        stamps=stamps,
        by_position=by_position,
        key_frames=np.flatnonzero(np.isin(stamps, key_stamps)),
    )


def _picture_stream(video, container):
    """The first stream of moving pictures; cover art is a picture, not a video."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise BadVideo(video.name, "the file has no video stream")


def _read_packets(container, stream):
    """(pts, dts, is key) of the shown packets, and when each stream's data ends."""
    packets, ends_s = [], {}
    for packet in container.demux():
        time = packet.dts if packet.pts is None else packet.pts
        if packet.size and time is not None:
            end_s = float((time + (packet.duration or 0)) * packet.time_base)
            before_s = ends_s.get(packet.stream_index, end_s)
            ends_s[packet.stream_index] = max(end_s, before_s)
        # Packets that an edit list hides are needed to decode others, never shown.
        if (
            packet.size
            and packet.stream_index == stream.index
            and not packet.is_discard
        ):
            packets.append((packet.pts, packet.dts, packet.is_keyframe))
    return packets, ends_s


def _check_complete(video, path, container, stream, ends_s):
    """Finds a file that was cut off: a download that stopped, a full disk."""
    if stream.index not in ends_s and not stream.frames:
        raise BadVideo(video.name, f"{path} has no frames")
    size = path.stat().st_size
    if "mp4" in container.format.name:
        # Its index lists every frame with its place; durations there may be wrong.
        promised = max((e.pos + e.size for e in stream.index_entries), default=0)
        if promised > size:
            raise BadVideo(
                video.name,
                f"{path} is cut off: {size} bytes of at least {promised}",
            )
        return
    if container.format.name == "avi" and stream.average_rate:
        # The duration of a cut AVI is scaled down by the demuxer, the count is not.
        promised_s = float(stream.frames / stream.average_rate)
        found_s = ends_s.get(stream.index, 0.0)
    else:
        promised_s = (container.duration or 0) / av.time_base
        promised_s += min(container.start_time or 0, 0) / av.time_base
        found_s = max(ends_s.values(), default=0.0)
    if found_s < promised_s - max(0.25, 0.02 * promised_s):
        raise BadVideo(
            video.name,
            f"{path} is cut off or damaged: {found_s:.2f} s can be read of the "
            f"{promised_s:.2f} s that its header names",
        )


def _frame_times(container, stream, packets, first_pts):
    """Times from 0 on, the decoder's name of each frame, whether that is a count."""
    presented = [pts for pts, _, _ in packets]
    # AVI keeps no presentation times: with B-frames the demuxer's are guesses.
    guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
    if None not in presented and not guessed:
        stamps = np.unique(np.array(presented, np.int64))
        # A recording may start in the middle of a group of pictures: what comes
        # before its first key frame is never shown.
        if first_pts is not None:
            stamps = stamps[np.searchsorted(stamps, first_pts) :]
        ticks, by_position = stamps - stamps[0], False
    else:
        decoded = [dts for _, dts, _ in packets]
        stamps, by_position = np.arange(len(packets)), True
        if None in decoded:
            rate = stream.average_rate or stream.guessed_rate or stream.base_rate or 25
            return stamps / float(rate), stamps, by_position
        ticks = np.sort(np.array(decoded, np.int64))
        ticks -= ticks[0]
    base = stream.time_base
    # One multiplication and one division: k * 512 / 15360 is k / 30 to the last bit.
    return ticks * float(base.numerator) / base.denominator, stamps, by_position


def _median_spacing(times_s):
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def _spacing(times_s, stream):
    rate = stream.average_rate or stream.guessed_rate or 25
    return _median_spacing(times_s) or 1 / float(rate)


def _probe_folder(video, path):
    if not video.frame_rate or not video.frame_rate > 0:
        raise ValueError(
            f"{video.name} is a folder of frames: its Video needs a frame_rate in "
            f"frames per second. Got {video.frame_rate}."
        )
    numbered = {}
    for name in sorted(os.listdir(path)):
        number = re.search(r"(\d+)$", pathlib.PurePath(name).stem)
        # `._00001.png` and `.AppleDouble` are what macOS leaves in archives.
        is_image = name.lower().endswith(_IMAGE_SUFFIXES) and not name.startswith(".")
        if not is_image or not number:
            continue
        other = numbered.setdefault(int(number[1]), name)
        if other != name:
            raise BadVideo(
                video.name, f"{path} holds two frames of one number: {other}, {name}"
            )
    if not numbered:
        raise BadVideo(video.name, f"{path} holds no numbered .png or .jpg frames")
    numbers = sorted(numbered)
    for before, after in itertools.pairwise(numbers):
        if after != before + 1:
            raise BadVideo(video.name, f"{path} has no frame number {before + 1}")
    height, width = _read_image(video, path / numbered[numbers[0]]).shape[:2]
    return VideoInfo(
        times_s=np.arange(len(numbers)) / video.frame_rate,
        duration_s=len(numbers) / video.frame_rate,
        height=height,
        width=width,
        images=tuple(numbered[number] for number in numbers),
    )


def _short(inside, last, num_frames, short_clip, start_s, end_s):
    if short_clip == "error":
        raise ValueError(
            f"The clip [{start_s:g}, {end_s:g}) s holds {len(inside)} frames, fewer "
            f"than num_frames={num_frames}. Choose short_clip='resample', 'loop' or "
            "'pad_last', or a smaller num_frames."
        )
    if not len(inside):
        inside = np.array([last])
    position = np.arange(num_frames)
    if short_clip == "loop":
        position %= len(inside)
    return inside[np.minimum(position, len(inside) - 1)].astype(np.int64)


def _read_images(video, info, wanted, frames):
    for position, index in enumerate(wanted):
        image = _read_image(video, pathlib.Path(video.path) / info.images[index])
        height, width = frames.shape[1:3]
        if image.shape[:2] != (height, width):
            shrinks = height <= image.shape[0] and width <= image.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = cv2.resize(image, (width, height), interpolation=how)
        frames[position] = image


def _read_image(video, path):
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BadVideo(video.name, f"{path} cannot be read as an image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _decode(video, info, wanted, frames):
    start = _seekable_key_frame(info, wanted[0])
    try:
        if start:
            # Some files cannot be sought, or land after the key frame.
            with contextlib.suppress(BadVideo, av.error.FFmpegError):
                return _decode_from(start, video, info, wanted, frames)
        return _decode_from(0, video, info, wanted, frames)
    except av.error.FFmpegError as error:
        raise BadVideo(
            video.name, f"{video.path} cannot be decoded ({error})"
        ) from error


def _seekable_key_frame(info, first):
    """The key frame before frame `first`; 0 is the start of the file."""
    if info.by_position:
        return 0
    before = np.searchsorted(info.key_frames, first, "right")
    return int(info.key_frames[before - 1]) if before else 0


def _decode_from(start, video, info, wanted, frames):
    with av.open(str(video.path)) as container:
        stream = _picture_stream(video, container)
        stream.codec_context.thread_count = 1
        if start:
            container.seek(int(info.stamps[start]), stream=stream)
        decoded = _numbered_frames(video, container, stream, info, start)
        end = [(len(info.times_s), None)]
        position, shown = 0, (None, None)
        for index, frame in itertools.chain(decoded, end):
            # Both ascend: what comes before this frame shows the one before it.
            while wanted[position] <= index:
                now = (index, frame) if wanted[position] == index else shown
                _copy_shown(video, info, now, wanted[position], frames[position])
                position += 1
                if position == len(wanted):
                    return
            shown = index, frame


def _numbered_frames(video, container, stream, info, start):
    """Decoded frames with their positions in the video."""
    sought, count = bool(start), 0
    for packet in container.demux(stream):
        if sought and (packet.pts is None or packet.pts > info.stamps[start]):
            raise BadVideo(video.name, f"{video.path} cannot be sought")
        sought = False
        for frame in packet.decode():
            if info.by_position:
                yield count, frame
                count += 1
            elif frame.pts is not None and frame.pts >= info.stamps[0]:
                yield int(np.searchsorted(info.stamps, frame.pts, "right")) - 1, frame


def _copy_shown(video, info, shown, wanted, target):
    index, frame = shown
    if frame is None or wanted - index > _MAX_PACKETS_WITHOUT_PICTURE:
        raise BadVideo(
            video.name,
            f"frame {wanted} (at {info.times_s[wanted]:.3f} s) of {video.path} cannot "
            "be decoded",
        )
    height, width = target.shape[:2]
    if frame.rotation % 180:
        height, width = width, height
    shrinks = height <= frame.height and width <= frame.width
    picture = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        interpolation="AREA" if shrinks else "BILINEAR",
    ).to_ndarray()
    target[:] = np.rot90(picture, round(frame.rotation / 90))


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
