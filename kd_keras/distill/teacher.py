"""The teacher of a student: a network that is never trained."""

from collections.abc import Sequence

import keras

from kd_keras.losses.tensor import Tensor
from kd_keras.models.outputs import as_logits
from kd_keras.training.feature_reader import feature_reader


class FrozenTeacher:
    """A recognition network that only predicts: never trained, never saved.

    Calling it with future clips (batch, time, height, width, channels) in [-1, 1]
    gives (probabilities (batch, num_classes), feature map, a tuple of them or None),
    whether the model ends in logits or in a softmax.

    Examples:
        >>> import numpy as np
        >>> import kd_keras
        >>> model = kd_keras.TSN(5, 4, 16, segments=2, network="small", width=0.1)
        >>> teacher = kd_keras.distill.FrozenTeacher(model, "conv5_block1_out")
        >>> probabilities, features = teacher(np.zeros((1, 4, 16, 16, 3), "float32"))
        >>> round(float(sum(probabilities[0])), 3), tuple(features.shape)
        (1.0, (1, 2, 1, 1, 26))
    """

    def __init__(
        self, model: keras.Model, feature_layer: str | Sequence[str] | None = None
    ) -> None:
        self._read = feature_reader(as_logits(model), feature_layer)

    def __call__(
        self, clips: Tensor
    ) -> tuple[Tensor, Tensor | tuple[Tensor, ...] | None]:
        logits, features = self._read(clips, training=False)
        probabilities = keras.ops.softmax(keras.ops.cast(logits, "float32"))
        stop = keras.ops.stop_gradient
        if features is not None:
            features = keras.tree.map_structure(stop, features)
        return stop(probabilities), features
