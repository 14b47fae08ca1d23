"""Feature maps as tokens, and the distances that the feature losses sum over them."""

import math
import numbers
from collections.abc import Sequence

from keras import ops

from kd_keras.losses.tensor import Tensor

DISTANCES = ("squared", "huber")
TOKEN_REDUCTIONS = ("sum", "mean")


def to_tokens(features: Tensor, name: str) -> Tensor:
    """Flattens (batch, ..., channels) to float32 tokens (batch, tokens, channels).

    `name` is what an error calls the features.
    """
    shape = ops.shape(features)
    if len(shape) < 3 or not isinstance(shape[-1], int):
        raise ValueError(
            f"{name} must have shape (batch, ..., channels), with at least one axis of "
            f"positions and a known number of channels. Got {tuple(features.shape)}; "
            "take the map before global pooling."
        )
    tokens = ops.reshape(features, (shape[0], math.prod(shape[1:-1]), shape[-1]))
    return ops.cast(tokens, "float32")


def check_unmasked(features: Tensor | Sequence[Tensor]) -> None:
    """Raises if a map, or one of several, has Keras's mask of tokens to leave out."""
    maps = features if isinstance(features, (tuple, list)) else (features,)
    # Of JAX's arrays Keras alone knows the mask.
    if any(getattr(each, "_keras_mask", None) is not None for each in maps):
        raise ValueError(
            "The feature losses read every token of a map and know no mask. Got a map "
            "with a Keras mask; compare one before the layer that masks, or pass it "
            "through an operation that drops the mask, such as keras.ops.copy."
        )


def check_comparable(left: Tensor, right: Tensor, names: str) -> None:
    """Raises unless the two tensors agree in channels and, if known, in batch."""
    if differ(left.shape[:1], right.shape[:1]) or left.shape[-1] != right.shape[-1]:
        raise ValueError(
            f"{names} must have the same batch and the same number of channels. Got "
            f"{tuple(left.shape)} and {tuple(right.shape)}; stop both networks at the "
            "same layer, or project the student's map with a 1x1x1 convolution."
        )


def check_same_shape(left: Tensor, right: Tensor, names: str, fix: str) -> None:
    """Raises if the known parts of the two shapes differ."""
    if differ(left.shape, right.shape):
        raise ValueError(
            f"{names} must have the same shape. Got {tuple(left.shape)} and "
            f"{tuple(right.shape)}; {fix}."
        )


def differ(left: Sequence[int | None], right: Sequence[int | None]) -> bool:
    """Whether the known parts of two shapes differ."""
    return len(left) != len(right) or any(
        None not in sizes and sizes[0] != sizes[1]
        for sizes in zip(left, right, strict=True)
    )


def distance_per_example(
    left: Tensor, right: Tensor, distance: str, delta: float, tokens: str
) -> Tensor:
    """Sums a distance over channels, then sums or averages it over tokens.

    Args:
        left, right: (batch, tokens, channels).
        distance: "squared", or "huber": elementwise, x²/2 up to `delta`, then linear.
        delta: Beyond this Huber is linear, > 0.
        tokens: "sum" or "mean".
    Returns:
        (batch,).
    """
    gap = ops.subtract(left, right)
    if distance == "huber":
        # `clipped` is x inside [-delta, delta] and ±delta outside, so one formula holds
        # for both.
        clipped = ops.clip(gap, -delta, delta)
        values = clipped * (gap - 0.5 * clipped)
    else:
        values = ops.square(gap)
    per_token = ops.sum(values, axis=-1)
    return (ops.sum if tokens == "sum" else ops.mean)(per_token, axis=-1)


def check_distance(distance: str, delta: float, tokens: str) -> None:
    """Raises unless the three arguments of `distance_per_example` are valid."""
    check_choice("distance", distance, DISTANCES)
    check_positive("delta", delta)
    check_choice("tokens", tokens, TOKEN_REDUCTIONS)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Got {value!r}.")


def check_positive(name: str, value: float) -> None:
    """Raises unless `value` is a positive, finite number."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be a finite number > 0. Got {value!r}.")
