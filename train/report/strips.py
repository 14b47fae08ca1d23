"""Clips as pictures inside a page: the frames side by side in one JPEG."""

import base64

import cv2
import numpy as np

from kd_keras import visualise

# Smaller frames are enlarged, or JPEG would blur what little there is of them.
_LEAST_PX = 96
# A JPEG cannot be wider.
_MOST_PX = 65_500
_QUALITY = 80


def data_uri(clip: np.ndarray) -> str:
    """Returns a clip as a data URI: a JPEG of its frames from left to right.

    Args:
        clip: (time, height, width, channels), uint8 or in [-1, 1].
    """
    frames = visualise.as_rgb(clip)
    times = max(1, -(-_LEAST_PX // frames.shape[1]))
    frames = frames.repeat(times, axis=1).repeat(times, axis=2)
    strip = np.concatenate(list(frames), axis=1)
    if strip.shape[1] > _MOST_PX:
        # The page shows the strip of any clip as wide as its frames are many.
        size = _MOST_PX, strip.shape[0]
        strip = cv2.resize(strip, size, interpolation=cv2.INTER_AREA)
    ok, encoded = cv2.imencode(
        ".jpg", strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    if not ok:
        raise ValueError(f"A strip of the shape {strip.shape} cannot be encoded.")
    return as_uri("image/jpeg", encoded.tobytes())


def as_uri(kind: str, content: bytes) -> str:
    """Returns the bytes of a file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
