"""An RGB student and a flow student that answer together, by their added logits."""

import dataclasses
import functools
import math

import tensorflow as tf

from export.signatures.served_student import ServedStudent
from export.student_file import ExportSpec
from kd_keras.models.fusion import fuse_logits
from kd_keras.models.outputs import as_logits


@dataclasses.dataclass(frozen=True, eq=False)
class TwoStreams:
    """What a pair of students answers; used as `ServedStudent` is.

    Attributes:
        rgb, flow: The students; their answers rank as many classes as `rgb`'s.
        weights: Of the logits of the two.
    Raises:
        ValueError: If the two do not anticipate the same, or cannot be added so.
    """

    rgb: ServedStudent
    flow: ServedStudent
    weights: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self):
        specs = self.rgb.spec, self.flow.spec
        _require_modalities(*(spec.clip_format.modality for spec in specs))
        _require_same_task(*specs)
        _require_same_fit(*(spec.clip_format for spec in specs))
        _require_weights(self.weights)

    @property
    def top_k(self) -> int:
        return self.rgb.top_k

    @property
    def feature_layer(self) -> None:
        """There is no signature `features` of two maps."""

    @property
    def streams(self) -> tuple[ServedStudent, ServedStudent]:
        return self.rgb, self.flow

    @property
    def is_folded(self) -> bool:
        """Whether a convolution of either took a BatchNorm in."""
        return any(one.is_folded for one in self.streams)

    @property
    def precision(self) -> str:
        """What the networks compute in, as `ServedStudent.precision` says it."""
        found = dict.fromkeys(one.precision for one in self.streams)
        return " and ".join(found)

    @property
    def spec(self) -> ExportSpec:
        """Of RGB frames that are large enough for both; classes and times are equal."""
        spec, flow = self.rgb.spec, self.flow.spec.clip_format
        clip_format = spec.clip_format
        if flow.resized_side > clip_format.resized_side:
            clip_format = dataclasses.replace(
                clip_format, image_size=flow.image_size, resize_ratio=flow.resize_ratio
            )
        return dataclasses.replace(
            spec, clip_format=clip_format, feature_layer=None, every_frame=True
        )

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """(time, height, width, channels) of frames that are enough for both."""
        num_frames, *rest = self.rgb.clip_shape
        # A flow takes two frames.
        return (max(num_frames, self.flow.clip_shape[0] + 1), *rest)

    @property
    def channels(self) -> int:
        return self.rgb.channels

    def folded(self) -> "TwoStreams":
        """Both students with BatchNorm in their convolutions."""
        return dataclasses.replace(self, rgb=self.rgb.folded(), flow=self.flow.folded())

    def anticipate(
        self, clips: tf.Tensor, flow_clips: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """As `ServedStudent.anticipate`, from the clips of both."""
        logits = [
            tf.cast(network(given, training=False), tf.float32)
            for network, given in zip(self._logits, (clips, flow_clips), strict=True)
        ]
        return self.rgb.outputs(tf.nn.softmax(fuse_logits(logits, self.weights)))

    @functools.cached_property
    def _logits(self):
        # Outside of a graph that is being traced: the model answers a random clip.
        with tf.init_scope():
            return [as_logits(s.model, s.clip_shape) for s in self.streams]


def _require_modalities(*found):
    if found != ("rgb", "flow"):
        raise ValueError(
            "Two streams are a student of RGB and then one of flow. Got one of "
            f"{found[0]} and one of {found[1]}"
            + ("; swap them." if found == ("flow", "rgb") else ".")
        )


def _require_same_task(rgb, flow):
    if rgb.classes != flow.classes:
        raise ValueError(
            "Both streams must have the same classes in the same order. "
            f"{_first_difference(rgb.classes, flow.classes)}"
        )
    for name in ("observed_s", "lead_time_s", "are_actions"):
        values = [getattr(spec, name) for spec in (rgb, flow)]
        if values[0] != values[1]:
            raise ValueError(
                f"Both streams must have the same {name}. The RGB student has "
                f"{values[0]}, the flow student {values[1]}: train both with the same "
                "data and times."
            )


def _require_same_fit(rgb, flow):
    if rgb.fit != flow.fit:
        raise ValueError(
            "Both streams must see frames alike. The RGB student was trained with "
            f"--fit={rgb.fit}, the flow student with --fit={flow.fit}."
        )


def _require_weights(weights):
    usable = all(math.isfinite(weight) and weight >= 0 for weight in weights)
    if len(weights) != 2 or not usable or not any(weights):
        raise ValueError(
            "Two streams are added with two weights of 0 or more, of which one is "
            f"larger, as 1,1. Got {tuple(weights)}."
        )


def _first_difference(one, other):
    if len(one) != len(other):
        return f"The RGB student has {len(one)}, the flow student {len(other)}."
    place = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    return (
        f"Class {place} of the RGB student is {one[place]!r}, of the flow student "
        f"{other[place]!r}."
    )
