"""What is known of a video before its frames are read, or why it cannot be used."""

import dataclasses

import numpy as np

from kd_keras.data.image_files import ImageFiles


class BadVideo(ValueError):
    """A video that cannot be used; the message is its name and the reason."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInfo:
    """What `probe` found out; reading finds its frames with it.

    Attributes:
        times_s: Presentation time of every frame, ascending; the first is 0.
        duration_s: Time of the last frame and the median spacing of the frames.
        height: Of the picture as it is shown: turned upright, with square pixels.
        width: Likewise.
        stamps: What the decoder calls each frame: its timestamp, or its position
            where the container's timestamps cannot be trusted.
        by_position: The latter: frames are counted from the start of the file.
        key_frames: Positions of the frames that decoding can start at.
        images: The frames of a folder or a tar.
    """

    times_s: np.ndarray
    duration_s: float
    height: int
    width: int
    stamps: np.ndarray | None = None
    by_position: bool = False
    key_frames: np.ndarray | None = None
    images: ImageFiles | None = None
