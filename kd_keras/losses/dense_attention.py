"""Attentional pooling with all scores at once, kept for the backward pass.

Does what `chunked_attention` does, with fewer products and with memory quadratic in the
number of tokens. All maps are float32 (batch, tokens, channels).
"""

from keras import ops

from kd_keras.losses.custom_gradient import Gradient, custom_gradient
from kd_keras.losses.matmul import transpose, transposed_product
from kd_keras.losses.tensor import Tensor


def self_attention(features: Tensor, alpha: float) -> Tensor:
    """phi(a_i, A): every token of a map attends to the same map."""
    return _attend(_self_scores(features, alpha), features)


def cross_attention(
    teacher: Tensor, student: Tensor, alpha: float, of_student: bool, of_teacher: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The tokens of each map attend to the other map; the gradient is the student's.

    Args:
        of_student, of_teacher: Which queries are wanted.
    Returns:
        phi(a_i, R) and phi(r_j, A), None if not wanted.
    """
    # One product for both: the queries are along the rows, or along the columns.
    scores = scores_of(student, teacher, alpha)
    return (
        _attend(scores, teacher, constant_values=True) if of_student else None,
        _attend_along_columns(scores, student) if of_teacher else None,
    )


def scores_of(queries: Tensor, values: Tensor, alpha: float) -> Tensor:
    """alpha q·v of every query, in rows, and every value, in columns."""
    if _has_few_tokens(values):
        return alpha * ops.matmul(queries, transpose(values))
    return ops.matmul(queries, transpose(alpha * values))


def _self_scores(features: Tensor, alpha: float) -> Tensor:
    """The scores of a map with itself, whose gradient is that of both factors."""

    @custom_gradient
    def scores(features: Tensor) -> tuple[Tensor, Gradient]:
        def gradient(upstream: Tensor) -> Tensor:
            if _has_few_tokens(features):
                both_ways = alpha * (upstream + transpose(upstream))
                return ops.matmul(both_ways, features)
            scaled = alpha * features
            as_query = ops.matmul(upstream, scaled)
            return as_query + transposed_product(upstream, scaled)

        return scores_of(features, features, alpha), gradient

    return scores(features)


def _attend(scores: Tensor, values: Tensor, constant_values: bool = False) -> Tensor:
    """phi of the queries along the rows."""

    @custom_gradient
    def attend(scores: Tensor, values: Tensor) -> tuple[Tensor, Gradient]:
        weights = ops.softmax(scores)
        attended = ops.matmul(weights, values)

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
            d_weights = ops.matmul(upstream, transpose(values))
            # Σ_k w_k ∂L/∂w_k: as `attended` is Σ_k w_k v_k, it is
            # upstream · attended.
            if _has_few_tokens(values):
                delta = ops.sum(weights * d_weights, axis=-1, keepdims=True)
            else:
                delta = ops.sum(upstream * attended, axis=-1, keepdims=True)
            d_scores = weights * (d_weights - delta)
            if constant_values:
                return d_scores, ops.zeros_like(values)
            return d_scores, transposed_product(weights, upstream)

        return attended, gradient

    return attend(scores, values)


def _attend_along_columns(scores: Tensor, values: Tensor) -> Tensor:
    """phi of the queries along the columns; nowhere is the matrix turned around."""

    @custom_gradient
    def attend(scores: Tensor, values: Tensor) -> tuple[Tensor, Gradient]:
        weights = ops.exp(scores - ops.max(scores, axis=1, keepdims=True))
        z = ops.sum(weights, axis=1, keepdims=True)
        attended = transposed_product(weights, values) / transpose(z)

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
            upstream = upstream / transpose(z)
            d_weights = ops.matmul(values, transpose(upstream))
            if _has_few_tokens(values):  # As in `_attend`.
                delta = ops.sum(weights * d_weights, axis=1, keepdims=True) / z
            else:
                delta = transpose(ops.sum(upstream * attended, axis=-1, keepdims=True))
            return weights * (d_weights - delta), ops.matmul(weights, upstream)

        return attended, gradient

    return attend(scores, values)


def _has_few_tokens(x: Tensor) -> bool:
    """Whether the scores of a map are smaller than the map: cheaper to pass over."""
    _, tokens, channels = x.shape
    return tokens is not None and tokens < channels
