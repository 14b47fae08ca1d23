"""Stored optical flow: numbered gray images in `u` and `v`, in a folder or a tar."""

import dataclasses
import pathlib

import cv2
import numpy as np

from kd_keras.data.video.flow import I3D_FLOW, FlowEncoding
from kd_keras.data.video.image_files import ImageFiles
from kd_keras.data.video.info import BadVideo, Video, VideoInfo
from kd_keras.data.video.numbered_images import find_images, read_images, resize

# A file knows its own times, which frames taken from it may have missed at its ends.
_FILE_TOLERANCE_S = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class FlowInfo:
    """What `probe_flow` found out; `read_flow_levels` finds the images with it.

    Attributes:
        times_s: Of the second of the two frames that each image compares: what has
            been seen by then is all that an image shows.
        duration_s: Of the video.
        height, width: Of the images.
        encoding: What their levels mean.
        u, v: The images.
    """

    times_s: np.ndarray
    duration_s: float
    height: int
    width: int
    encoding: FlowEncoding
    u: ImageFiles
    v: ImageFiles


def probe_flow(video: Video, info: VideoInfo) -> FlowInfo:
    """Lists the flow images of `video.flow_path` and decodes the first.

    Args:
        info: What `probe` found out of the video itself.
    Raises:
        BadVideo: The flow is missing or cannot be read; u and v do not have the same
            images; or there are more or fewer than the video's frames give, which is
            one for every `stride` frames, less at most `dilation` + 1 or 1 more.
    """
    encoding = video.flow_encoding or I3D_FLOW
    rate = video.flow_frame_rate or (video.frame_rate or 0) / encoding.stride
    if not rate > 0:
        raise ValueError(
            f"{video.name} is a file that knows its own times: its Video needs a "
            "flow_frame_rate in flow images per second."
        )
    path = pathlib.Path(video.flow_path)
    try:
        if not path.exists():
            raise BadVideo(video.name, f"its flow {path} does not exist")
        u, v = (find_images(video.name, path, folder) for folder in ("u", "v"))
        _check_same_images(video, path, u, v)
        _check_count(video, path, len(u), rate, info, encoding)
        first = next(read_images(video.name, u, [0], cv2.IMREAD_GRAYSCALE))
    except OSError as error:
        raise BadVideo(video.name, str(error)) from error
    seen_after_s = encoding.dilation / (rate * encoding.stride)
    return FlowInfo(
        times_s=info.times_s[0] + np.arange(len(u)) / rate + seen_after_s,
        duration_s=info.duration_s,
        height=first.shape[0],
        width=first.shape[1],
        encoding=encoding,
        u=u,
        v=v,
    )


def read_flow_levels(
    video: Video,
    info: FlowInfo,
    indices: np.ndarray,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Reads the flow images at `indices`, which may repeat and come in any order.

    Args:
        info: What `probe_flow` returned for this video.
        size: (width, height) of the result; None is that of the images. Levels are
            averaged when they shrink; they stay pixels of the stored picture.
    Returns:
        uint8 (len(indices), height, width, 2): the levels of u and v.
    Raises:
        BadVideo: An image cannot be decoded or has another size than the first.
    """
    wanted, inverse = np.unique(indices, return_inverse=True)
    width, height = size or (info.width, info.height)
    levels = np.empty((len(wanted), height, width, 2), np.uint8)
    stored_size = (info.height, info.width)
    try:
        for channel, images in enumerate((info.u, info.v)):
            decoded = read_images(
                video.name, images, wanted, cv2.IMREAD_GRAYSCALE, stored_size
            )
            for position, image in enumerate(decoded):
                levels[position, ..., channel] = resize(image, (width, height))
    except OSError as error:
        raise BadVideo(video.name, str(error)) from error
    return levels[inverse]


def _check_same_images(video, path, u, v):
    if len(u) != len(v):
        raise BadVideo(
            video.name, f"{path} holds {len(u)} flow images in u and {len(v)} in v"
        )


def _check_count(video, path, count, rate, info, encoding):
    expected = (info.duration_s - info.times_s[0]) * rate
    tolerance = 1e-6 if info.images is not None else _FILE_TOLERANCE_S * rate
    fewest = expected - encoding.dilation - 1 - tolerance
    if fewest <= count <= expected + 1 + tolerance:
        return
    raise BadVideo(
        video.name,
        f"{path} holds {count} flow images; its {len(info.times_s)} frames "
        f"({info.duration_s:.2f} s) give about {expected:.0f} at {rate:g} per second",
    )
