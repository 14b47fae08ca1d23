"""L_direct of the paper: compares feature maps position by position."""

import keras
from keras import ops

from kd_keras.losses import feature_maps
from kd_keras.losses.tensor import Tensor


@keras.saving.register_keras_serializable(package="kd_keras")
class DirectLoss(keras.losses.Loss):
    """Compares every position of the student's map with the teacher's same position.

    This is the baseline of the paper (section 2.2). It assumes that nothing moves
    between the two clips.

    Args:
        distance: "squared" sums squares over channels; "huber" sums the elementwise
            Huber loss, x²/2 up to `delta` and linear beyond.
        delta: Beyond this Huber is linear, > 0.
        tokens: "mean" averages over positions, "sum" adds them. A suitable weight of
            the loss depends on this choice.
        reduction, name: As in every Keras loss.
        dtype: As in every Keras loss, but values are float32 under any policy.
    Shapes:
        y_true: Teacher features (batch, ..., channels). They get no gradient.
        y_pred: Student features of the same shape. Unreduced result: (batch,).
    Raises:
        ValueError: If an argument is invalid, the shapes differ, or a map has
            a Keras mask.
    Examples:
        Every token differs from the token in its place by 1 in two channels.

        >>> import numpy as np
        >>> import kd_keras
        >>> teacher_map = np.eye(8, dtype="float32").reshape(1, 2, 2, 2, 8)
        >>> student_map = np.roll(teacher_map, 1, axis=1)
        >>> float(kd_keras.DirectLoss()(teacher_map, student_map))
        2.0
        >>> float(kd_keras.DirectLoss(tokens="sum")(teacher_map, student_map))
        16.0
    """

    def __init__(
        self,
        distance: str = "squared",
        delta: float = 1.0,
        tokens: str = "mean",
        reduction: str | None = "sum_over_batch_size",
        name: str = "direct_loss",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        # Not `dtype`: half precision would lose the values before `call` sees them.
        super().__init__(name=name, reduction=reduction, dtype="float32")
        feature_maps.check_distance(distance, delta, tokens)
        self.distance = distance
        self.delta = delta
        self.tokens = tokens

    def __call__(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        feature_maps.check_unmasked(y_true)
        feature_maps.check_unmasked(y_pred)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        feature_maps.check_same_shape(
            y_true,
            y_pred,
            "DirectLoss compares position by position: teacher and student features",
            "give both networks as many frames and pixels, or use "
            "AttentionalPoolingLoss",
        )
        teacher = ops.stop_gradient(feature_maps.to_tokens(y_true, "Teacher features"))
        student = feature_maps.to_tokens(y_pred, "Student features")
        return feature_maps.distance_per_example(
            teacher, student, self.distance, self.delta, self.tokens
        )

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "distance": self.distance,
            "delta": self.delta,
            "tokens": self.tokens,
            "dtype": self.dtype,
        }
