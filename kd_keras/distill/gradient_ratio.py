"""Computes the weight λ of a feature loss from gradients, which saves a search."""

import math
import numbers
from collections.abc import Callable
from typing import TypeAlias

import keras
from keras import ops

from kd_keras.losses.tensor import Tensor

# A number, or a function of the step such as `keras.optimizers.schedules` has.
Schedule: TypeAlias = float | Callable[[Tensor], Tensor]

# Steps that the averages look back on, roughly.
_MEMORY = 50
# λ of the first step, before there are averages. It is small, so that the feature loss
# does not dominate that step.
_FIRST = 1e-3


class GradientRatioWeight(keras.layers.Layer):
    """Keeps a ratio between the gradients of the feature loss and of the other terms.

    Both are gradients for the student's compared map, of all clips of a batch
    together. With the moving averages ‖g_d‖ and ‖g_c‖ of their norms over steps,

        λ = ratio * ‖g_c‖ / ‖g_d‖

    where g_d is the gradient of the mean feature loss, and g_c is the gradient of the
    mean of the other terms. The averages are weights of the layer that are not trained.

    Args:
        ratio: > 0, or a function of the step such as `keras.optimizers.schedules` has.
    Raises:
        ValueError: If the ratio is not positive and finite.
    """

    def __init__(self, ratio: Schedule, name: str = "feature_weight") -> None:
        super().__init__(name=name, dtype="float32", trainable=False)
        if not callable(ratio) and not isinstance(ratio, numbers.Real):
            raise ValueError(
                "The gradient ratio must be a number or a function of the step. Got "
                f"{ratio!r}."
            )
        if not callable(ratio) and not 0 < ratio < math.inf:
            raise ValueError(f"The gradient ratio must be finite and > 0. Got {ratio}.")
        self._ratio = ratio
        self._others, self._feature = (
            self.add_weight(
                name=average,
                shape=(),
                initializer="zeros",
                trainable=False,
                aggregation="mean",
            )
            for average in ("others_norm", "feature_norm")
        )
        self.built = True

    def at(self, step: Tensor) -> Tensor:
        """Returns λ at a step."""
        ratio = self._ratio(step) if callable(self._ratio) else self._ratio
        others, feature = (
            ops.convert_to_tensor(average) for average in (self._others, self._feature)
        )
        known = ops.divide_no_nan(others, feature)
        return ratio * ops.where(feature > 0, known, _FIRST)

    def update(
        self, weight: Tensor, others_norm: Tensor, weighted_norm: Tensor
    ) -> None:
        """Updates the averages with the norms of a step.

        Nothing changes if one of the norms is 0 or not finite.

        Args:
            weight: λ of the step.
            others_norm: Norm of the gradient of the other terms.
            weighted_norm: Norm of the gradient of λ times the feature loss.
        """
        feature_norm = ops.divide_no_nan(weighted_norm, weight)
        norms = ops.stack([others_norm, feature_norm])
        counts = ops.all(ops.isfinite(norms) & (norms > 0))
        # Both averages start at 0 and are too small by the same factor at first. Their
        # ratio is right.
        rate = ops.where(counts, 1 / _MEMORY, 0.0)
        for average, norm in (
            (self._others, others_norm),
            (self._feature, feature_norm),
        ):
            norm = ops.where(counts, norm, 0.0)
            average.assign_add(rate * (norm - average))
