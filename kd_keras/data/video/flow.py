"""Optical flow: computed as I3D's published weights expect it, and its 8-bit levels.

The recipe of the weights: 25 frames per second, 256 pixels high, TV-L1 with OpenCV's
defaults on gray frames, cut to ±20 pixels, kept in 8 bits, divided by 20.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

FLOW_METHODS = ("tvl1", "tvl1_graph", "dis")

# What the weights' flow was computed at.
FRAME_RATE = 25.0
HEIGHT_PX = 256
# Motion that a network sees as 1; more is cut off.
BOUND_PX = 20.0

# What files call the attributes that have another name there.
_STORED_NAMES = {"rounds_down": "truncates"}


@dataclasses.dataclass(frozen=True)
class FlowEncoding:
    """How flow is kept as uint8, and which frames each image compares.

    Level q stands for (q / 255 - 0.5) * 2 * bound_px pixels.

    Attributes:
        bound_px: Motion that the highest level stands for; more is cut off.
        stride: Frames from one flow image to the next.
        dilation: Frames from the first of the two that an image compares to the
            second.
        rounds_down: Whether levels were rounded down, as for I3D's weights, or to the
            nearest.
    """

    bound_px: float = BOUND_PX
    stride: int = 1
    dilation: int = 1
    rounds_down: bool = True

    def __post_init__(self):
        if not self.bound_px > 0 or self.stride < 1 or self.dilation < 1:
            raise ValueError(
                "bound_px must be positive, stride and dilation at least 1. Got "
                f"{self.bound_px}, {self.stride} and {self.dilation}."
            )

    @property
    def zero_level(self) -> int:
        """The level of no motion: 127 for I3D, 128 for EPIC-KITCHENS.

        Neither stands for exactly 0: I3D's weights saw -0.0039 where nothing moves.
        """
        return 127 if self.rounds_down else 128

    def to_stored(self) -> dict:
        """Returns the values under their names in files, which never change."""
        values = dataclasses.asdict(self)
        return {_STORED_NAMES.get(name, name): v for name, v in values.items()}

    @classmethod
    def from_stored(cls, values: Mapping) -> "FlowEncoding":
        """The encoding of `to_stored`; names of attributes will do, too."""
        names = {stored: name for name, stored in _STORED_NAMES.items()}
        return cls(**{names.get(name, name): v for name, v in values.items()})

    def quantize(self, flow: np.ndarray) -> np.ndarray:
        """Flow in pixels -> uint8 levels."""
        bound = np.float32(self.bound_px)
        levels = (np.clip(flow, -bound, bound) + bound) / (2 * bound) * np.float32(255)
        # Halves up, so that no motion is the zero level.
        return (levels if self.rounds_down else levels + np.float32(0.5)).astype(
            np.uint8
        )

    def dequantize(self, levels: np.ndarray) -> np.ndarray:
        """uint8 levels -> what a network sees: float32 in [-1, 1], ±1 is ±20 px."""
        flow = (np.asarray(levels, np.float32) / 255 - 0.5) * (2 * self.bound_px)
        return (np.clip(flow, -BOUND_PX, BOUND_PX) / BOUND_PX).astype(np.float32)

    def mirrored(self) -> np.ndarray:
        """uint8 (256,): what each level of u becomes when the picture is mirrored.

        Levels change places around the zero level, so that what stands still keeps
        it; subtracting from 255 would give it a motion. The ends hold what was cut
        off and change places with each other.
        """
        levels = np.clip(2 * self.zero_level - np.arange(256), 0, 255)
        levels[[0, 255]] = 255, 0
        return levels.astype(np.uint8)


I3D_FLOW = FlowEncoding()
# The released flow of EPIC-KITCHENS, beside frames at 60 per second.
EPIC_FLOW = FlowEncoding(bound_px=25.0, stride=2, dilation=3, rounds_down=False)


def compute_flow(frames: np.ndarray, method: str = "tvl1") -> np.ndarray:
    """Flow from each frame to the next, in pixels of these frames.

    Frames should come at 25 per second and, for I3D's weights, 256 pixels high: they
    are compared as they are.

    Args:
        frames: uint8 RGB (time, height, width, 3), or gray (time, height, width).
        method: "tvl1", which the weights were trained with; "tvl1_graph", the same
            in TensorFlow, on its accelerator if there is one; or "dis", which is some
            hundred times faster and less exact. All with OpenCV's settings.
    Returns:
        float32 (time - 1, height, width, 2): u, to the right, and v, downwards.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or not (
        frames.ndim == 3 or (frames.ndim == 4 and frames.shape[-1] == 3)
    ):
        raise ValueError(
            "Flow is computed of uint8 frames, RGB (time, height, width, 3) or gray "
            f"(time, height, width). Got {frames.dtype} {frames.shape}."
        )
    if len(frames) < 2:
        raise ValueError(f"Flow needs at least 2 frames. Got {len(frames)}.")
    gray = [as_gray(frame) for frame in frames]
    return flows_between(gray[:-1], gray[1:], method)


def as_gray(frame: np.ndarray) -> np.ndarray:
    """RGB (height, width, 3), or gray already, -> gray (height, width)."""
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def flows_between(
    befores: Sequence[np.ndarray], afters: Sequence[np.ndarray], method: str
) -> np.ndarray:
    """Flow of pairs of gray frames: float32 (pairs, height, width, 2) in pixels."""
    if method not in FLOW_METHODS:
        raise ValueError(f"method must be one of {FLOW_METHODS}. Got {method!r}.")
    if method == "tvl1_graph":
        # TensorFlow takes seconds to import.
        from kd_keras.data.video import tvl1_graph

        return tvl1_graph.compute(np.stack(befores), np.stack(afters))
    return np.stack(
        [
            # A new one each time: OpenCV's TV-L1 forgets scales for good once a
            # picture is too small for them, and neither can be used by two threads.
            _new(method).calc(before, after, None)
            for before, after in zip(befores, afters, strict=True)
        ]
    )


def _new(method):
    if method == "dis":
        return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if not hasattr(cv2, "optflow"):
        raise ValueError(
            "TV-L1 flow needs opencv-contrib-python-headless; the OpenCV that is "
            "installed lacks its contributed modules. Install it, or choose 'dis'."
        )
    return cv2.optflow.DualTVL1OpticalFlow_create()
