"""The shape of a clip of features."""

import dataclasses
import numbers
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from kd_keras.data.video.frame_times import SHORT_CLIPS


@dataclasses.dataclass(frozen=True)
class FeatureFormat:
    """The shape of a clip, and how a video's features are brought into it.

    It takes the place of a `ClipFormat`: its clips are float32 and seen as they are.

    Attributes:
        num_frames: Time steps of every clip, whatever its duration.
        height, width: Of the map of a time step; 1 for a vector.
        channels: Of the features.
        short_clip: What a clip with fewer time steps gives; see `frame_indices`.
    """

    num_frames: int
    height: int
    width: int
    channels: int
    short_clip: str = "resample"

    modality: ClassVar[str] = "features"
    dtype: ClassVar[type] = np.float32
    flow_scale: ClassVar[float] = 1.0

    def __post_init__(self):
        for name in ("num_frames", "height", "width", "channels"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(
                    f"{name} must be a whole number, at least 1. Got {value!r}."
                )
        if self.short_clip not in SHORT_CLIPS:
            raise ValueError(
                f"short_clip must be one of {SHORT_CLIPS}. Got {self.short_clip!r}."
            )

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """(time, height, width, channels) of what a network sees."""
        return self.num_frames, self.height, self.width, self.channels

    @property
    def blank_clip(self) -> np.ndarray:
        """A clip of zeros, which stands for one that cannot be read."""
        return np.zeros(self.input_shape, np.float32)

    def to_stored(self) -> dict:
        """Returns the values under their names in files, which never change."""
        return dataclasses.asdict(self) | {"modality": self.modality}

    @classmethod
    def from_stored(cls, values: Mapping) -> "FeatureFormat":
        """The format of `to_stored`."""
        return cls(**{name: v for name, v in values.items() if name != "modality"})
