"""The frames or the optical flow that stand for an interval of a video."""

import pathlib

import numpy as np

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.video import flow as flow_lib
from kd_keras.data.video import reading
from kd_keras.data.video.frame_times import frame_indices
from kd_keras.data.video.info import Video, VideoInfo
from kd_keras.data.video.stored_flow import FlowInfo, read_flow_levels

# The picture that a clip of flow shows if nothing can have moved yet.
STANDS_STILL = -1

_TIME_ERROR_S = 1e-6


def read_clip(
    video: Video,
    info: VideoInfo,
    start_s: float,
    end_s: float,
    clip_format: ClipFormat,
    flow_info: FlowInfo | None = None,
) -> np.ndarray:
    """Reads the interval [start_s, end_s) of a video in a format, uncropped.

    A clip of flow holds the motion that led to each of its moments: none looks at a
    frame at or after `end_s`. If the video has no stored flow, each is computed from
    the frame then on screen and the one nearest to 1/25 s before it, both resized to
    the clip's format, and scaled to pixels per 1/25 s of a picture 256 pixels high:
    at 25 frames per second and the size of I3D's weights that is their recipe. A
    clip that ends before anything can have moved stands still.

    Args:
        info: What `probe` returned.
        flow_info: What `probe_flow` returned for a video that brings its
            flow; unused for RGB.
    Returns:
        uint8 (num_frames, height, width, channels): RGB, or the levels of u and v;
        height and width as `ClipFormat.resized` gives them.
    Raises:
        BadVideo: A frame cannot be read.
        ValueError: The clip is too short and `short_clip` is "error".
    """
    indices = clip_indices(video, info, start_s, end_s, clip_format, flow_info)
    return read_pictures(video, info, indices, clip_format, flow_info)


def clip_indices(
    video: Video,
    info: VideoInfo,
    start_s: float,
    end_s: float,
    clip_format: ClipFormat,
    flow_info: FlowInfo | None = None,
) -> np.ndarray:
    """Returns which pictures of a video a clip shows: int64 (num_frames,).

    Pictures are frames or flows, numbered as in `picture_times_s`; `STANDS_STILL` is
    the flow of a clip that ends before the first is known.
    """
    times_s = picture_times_s(info, clip_format, flow_info)
    if clip_format.modality == "flow":
        first_s = times_s[0] if len(times_s) else end_s
        if end_s - first_s <= _TIME_ERROR_S:
            return np.full(clip_format.num_frames, STANDS_STILL)
        # A clip that starts with the video has one flow less than frames: it starts
        # with the first flow, which is known a little later.
        if info.times_s[0] <= start_s < first_s:
            start_s = first_s
    try:
        return frame_indices(
            times_s,
            info.duration_s,
            start_s,
            end_s,
            clip_format.num_frames,
            clip_format.short_clip,
            begins_s=info.times_s[0],
        )
    except ValueError as error:
        raise ValueError(f"{video.name}: {error}") from error


def picture_times_s(
    info: VideoInfo, clip_format: ClipFormat, flow_info: FlowInfo | None = None
) -> np.ndarray:
    """Returns when each picture of a video is known."""
    if clip_format.modality == "rgb":
        return info.times_s
    # Each frame but the first has a flow that leads to it.
    return info.times_s[1:] if flow_info is None else flow_info.times_s


def files_read(
    info: VideoInfo,
    indices: np.ndarray,
    clip_format: ClipFormat,
    flow_info: FlowInfo | None = None,
) -> list[pathlib.Path]:
    """Returns the images in folders that `read_pictures` reads at the same indices."""
    known = np.unique(indices[indices != STANDS_STILL])
    if clip_format.modality == "flow" and flow_info is not None:
        return [*flow_info.u.files(known), *flow_info.v.files(known)]
    if info.images is None:
        return []
    if clip_format.modality == "flow":
        known = np.union1d(_frames_before(info.times_s, known + 1), known + 1)
    return info.images.files(known)


def read_pictures(
    video: Video,
    info: VideoInfo,
    indices: np.ndarray,
    clip_format: ClipFormat,
    flow_info: FlowInfo | None = None,
) -> np.ndarray:
    """Reads pictures of a video; the indices may repeat and come in any order.

    Returns:
        uint8 (len(indices), height, width, channels), as `read_clip`.
    """
    if clip_format.modality == "rgb":
        return reading.read_frames(video, info, indices, _size(info, clip_format))
    known = np.unique(indices[indices != STANDS_STILL])
    width, height = _size(flow_info or info, clip_format)
    # The last one is that of what stands still.
    levels = np.full(
        (len(known) + 1, height, width, 2),
        clip_format.flow_encoding.zero_level,
        np.uint8,
    )
    if len(known) and flow_info is not None:
        levels[:-1] = _stored_flow(video, flow_info, known, clip_format)
    elif len(known):
        levels[:-1] = _computed_flow(video, info, known, clip_format)
    return levels[
        np.where(indices == STANDS_STILL, len(known), np.searchsorted(known, indices))
    ]


def clip_size(
    info: VideoInfo, clip_format: ClipFormat, flow_info: FlowInfo | None = None
) -> tuple[int, int]:
    """Height and width of what `read_clip` gives."""
    source = info if flow_info is None else flow_info
    return clip_format.resized(source.height, source.width)


def _size(info, clip_format):
    height, width = clip_format.resized(info.height, info.width)
    return width, height


def _stored_flow(video, info, indices, clip_format):
    levels = read_flow_levels(video, info, indices, _size(info, clip_format))
    stored, wanted = info.encoding, clip_format.flow_encoding
    if (stored.bound_px, stored.rounds_down) == (wanted.bound_px, wanted.rounds_down):
        return levels
    return wanted.quantize(stored.dequantize(np.arange(256)) * flow_lib.BOUND_PX)[
        levels
    ]


def _computed_flow(video, info, indices, clip_format):
    times_s, afters = info.times_s, indices + 1
    befores = _frames_before(times_s, afters)
    needed = np.union1d(befores, afters)
    frames = reading.iterate_frames(video, info, needed, _size(info, clip_format))
    gray = {
        int(index): flow_lib.as_gray(frame)
        for index, frame in zip(needed, frames, strict=True)
    }
    flows = flow_lib.flows_between(
        [gray[int(index)] for index in befores],
        [gray[int(index)] for index in afters],
        clip_format.flow_method,
    )
    levels = []
    for flow, before, after in zip(flows, befores, afters, strict=True):
        apart_s = times_s[after] - times_s[before]
        scale = flow_lib.HEIGHT_PX / clip_format.resized_side
        scale /= flow_lib.FRAME_RATE * apart_s
        levels.append(clip_format.flow_encoding.quantize(flow * np.float32(scale)))
    return np.stack(levels)


def _frames_before(times_s, afters):
    """The frame nearest to 1/25 s before each, but another one than it."""
    wanted_s = times_s[afters] - 1 / flow_lib.FRAME_RATE
    right = np.searchsorted(times_s, wanted_s + _TIME_ERROR_S)
    left = np.maximum(right - 1, 0)
    right_is_nearer = times_s[right] - wanted_s < wanted_s - times_s[left]
    return np.minimum(np.where(right_is_nearer, right, left), afters - 1)
