"""The student as its signatures use it: clips in, anticipations out."""

import dataclasses
import functools
import math

import keras
import tensorflow as tf

from export import student_file
from export.signatures.actions import action_outputs
from export.student_file import ExportSpec
from kd_keras.models.backbones import BACKBONES, default_feature_layer
from kd_keras.models.folded_batch_norm import fold_batch_norm
from kd_keras.models.outputs import as_probabilities
from kd_keras.models.precision import precision_of
from kd_keras.training.feature_reader import model_with_features


@dataclasses.dataclass(frozen=True, eq=False)
class ServedStudent:
    """A student and what its answers contain.

    Attributes:
        model: Maps clips to logits, or to probabilities.
        spec: Fits the model.
        top_k: At most as many classes are ranked.
        is_folded: Whether a convolution took a BatchNorm in.
    """

    model: keras.Model
    spec: ExportSpec
    top_k: int = 5
    is_folded: bool = False

    @property
    def streams(self) -> tuple["ServedStudent", ...]:
        """The students that answer together: itself; see `TwoStreams`."""
        return (self,)

    @property
    def clip_shape(self) -> tuple[int, ...]:
        """(time, height, width, channels) of a clip."""
        return student_file.clip_shape_of(self.model, self.spec)

    @property
    def channels(self) -> int:
        return self.clip_shape[-1]

    @property
    def precision(self) -> str:
        """What the network computes in; see `precision_of`."""
        return precision_of(self.model)

    @functools.cached_property
    def feature_layer(self) -> str | None:
        """The layer whose map the signature `features` gives.

        It is the one of the spec, else the one that is distilled by default. A network
        of unknown structure gives its last map over time, height and width, if any.
        """
        if self.spec.feature_layer is not None:
            return self.spec.feature_layer
        if self.model.name in BACKBONES:
            return default_feature_layer(self.model)
        maps = [layer.name for layer in self.model.layers[1:] if _is_map(layer)]
        return maps[-1] if maps else None

    def folded(self) -> "ServedStudent":
        """The same student with BatchNorm in its convolutions; see `fold_batch_norm`.

        The map of the feature layer stays what it is.
        """
        layer = self.feature_layer
        model = fold_batch_norm(self.model, keep=[] if layer is None else [layer])
        is_folded = self.is_folded or model is not self.model
        return dataclasses.replace(self, model=model, is_folded=is_folded)

    def anticipate(self, clips: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of a signature that anticipates.

        Shapes:
            clips: float32 (batch, time, height, width, channels) in [-1, 1].
            result: `probabilities` float32 (batch, classes); `top_k_indices` int32,
                `top_k_probabilities` float32 and `top_k_classes` string (batch, k), the
                most probable first; `lead_time_s` float32 (batch,), the seconds from
                the end of the clip to the action; NaN if they differ from clip to clip.
                If classes are actions, also what `action_outputs` says.
        """
        return self.outputs(self._probabilities(clips, training=False))

    def outputs(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of `anticipate` for probabilities (batch, classes)."""
        classes = self.spec.classes
        best, indices = tf.math.top_k(probabilities, min(self.top_k, len(classes)))
        lead_time_s = self.spec.lead_time_s
        outputs = {
            "probabilities": probabilities,
            "top_k_indices": indices,
            "top_k_probabilities": best,
            "top_k_classes": tf.gather(tf.constant(classes), indices),
            "lead_time_s": tf.fill(
                tf.shape(probabilities)[:1],
                tf.constant(math.nan if lead_time_s is None else lead_time_s),
            ),
        }
        if self.spec.are_actions:
            outputs |= action_outputs(probabilities, classes, self.top_k)
        return outputs

    def feature_map(self, clips: tf.Tensor) -> tf.Tensor:
        """The float32 map (batch, ..., channels) of `feature_layer` for such clips."""
        return tf.cast(self._with_features(clips, training=False)[1], tf.float32)

    @functools.cached_property
    def _probabilities(self):
        # Outside of a graph that is being traced: the model answers a random clip.
        with tf.init_scope():
            return as_probabilities(self.model, self.clip_shape)

    @functools.cached_property
    def _with_features(self):
        return model_with_features(self.model, self.feature_layer)


def _is_map(layer):
    shape = getattr(layer.output, "shape", ())
    return len(shape) == 5 and shape[0] is None
