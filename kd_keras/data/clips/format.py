"""The shape of a clip, and what its 8-bit levels mean."""

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from kd_keras.data.video.flow import BOUND_PX, FLOW_METHODS, I3D_FLOW, FlowEncoding
from kd_keras.data.video.frame_times import SHORT_CLIPS

FITS = ("crop", "stretch")
# Channels of each.
MODALITIES = {"rgb": 3, "flow": 2}
# What files call the attributes that have another name there.
STORED_NAMES = {"resize_ratio": "margin"}


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
            `frame_indices`.
        resize_ratio: `resized_side` / `image_size`, at least 1; 1 cuts nothing off.
        modality: "rgb", or "flow": optical flow, u and v.
        flow_method: What computes the flow of videos without stored flow; see
            `flow.compute_flow`.
        flow_encoding: What the 8-bit levels of a flow clip mean.
    """

    num_frames: int = 16
    image_size: int = 112
    fit: str = "crop"
    short_clip: str = "resample"
    resize_ratio: float = 8 / 7
    modality: str = "rgb"
    flow_method: str = "tvl1"
    flow_encoding: FlowEncoding = I3D_FLOW

    def __post_init__(self):
        for name in ("num_frames", "image_size"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(
                    f"{name} must be a whole number, at least 1. Got {value!r}."
                )
        if self.fit not in FITS:
            raise ValueError(f"fit must be one of {FITS}. Got {self.fit!r}.")
        if self.short_clip not in SHORT_CLIPS:
            raise ValueError(
                f"short_clip must be one of {SHORT_CLIPS}. Got {self.short_clip!r}."
            )
        if not 1 <= self.resize_ratio < math.inf:
            raise ValueError(
                f"resize_ratio must be at least 1. Got {self.resize_ratio}."
            )
        if self.modality not in MODALITIES:
            raise ValueError(
                f"modality must be one of {tuple(MODALITIES)}. Got {self.modality!r}."
            )
        if self.flow_method not in FLOW_METHODS:
            raise ValueError(
                f"flow_method must be one of {FLOW_METHODS}. Got {self.flow_method!r}."
            )

    dtype: ClassVar[type] = np.uint8

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(time, height, width, channels) of what a network sees."""
        return self.num_frames, self.image_size, self.image_size, self.channels

    @property
    def channels(self) -> int:
        """3 of RGB, 2 of flow."""
        return MODALITIES[self.modality]

    @property
    def flow_scale(self) -> float:
        """Scale from stored flow to network input, which is then clipped to [-1, 1].

        It is 1 unless the flow was stored with a bound other than 20 pixels.
        """
        return self.flow_encoding.bound_px / BOUND_PX if self.modality == "flow" else 1

    @property
    def blank_clip(self) -> np.ndarray:
        """A clip of zeros, which stands for one that cannot be read."""
        return np.zeros(self.input_shape, np.uint8)

    @property
    def resized_side(self) -> int:
        """Pixels of the shorter side before the square is cut out."""
        return math.floor(self.image_size * self.resize_ratio + 0.5)

    def to_stored(self) -> dict:
        """Returns the values under their names in files, which never change."""
        values = dataclasses.asdict(self)
        values = {STORED_NAMES.get(name, name): v for name, v in values.items()}
        return values | {"flow_encoding": self.flow_encoding.to_stored()}

    @classmethod
    def from_stored(cls, values: Mapping) -> "ClipFormat":
        """The format of `to_stored`; what is missing has its default."""
        names = {stored: name for name, stored in STORED_NAMES.items()}
        values = {names.get(name, name): value for name, value in values.items()}
        if "flow_encoding" in values:
            values["flow_encoding"] = FlowEncoding.from_stored(values["flow_encoding"])
        return cls(**values)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a frame of this height and width is resized to."""
        side, short = self.resized_side, min(height, width)
        if self.fit == "stretch":
            return side, side
        return (
            (2 * height * side + short) // (2 * short),
            (2 * width * side + short) // (2 * short),
        )
