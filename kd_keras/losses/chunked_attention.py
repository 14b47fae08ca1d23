"""Attentional pooling in blocks of tokens: memory linear in the number of tokens.

Scores of one block of tokens exist at a time; the backward pass computes them again.
All maps are float32 (batch, tokens, channels).
"""

# A query q_i reads values v_k by scores s_ik = α q_i·v_k and weights w_ik, the softmax
# of s_i: phi_i = Σ_k w_ik v_k. From the upstream gradient g_i = ∂L/∂phi_i follow
#
#     ∂L/∂w_ik = g_i·v_k
#     ∂L/∂s_ik = w_ik (∂L/∂w_ik - δ_i)  with  δ_i = Σ_k w_ik ∂L/∂w_ik = g_i·phi_i
#     ∂L/∂q_i  = α Σ_k ∂L/∂s_ik v_k
#     ∂L/∂v_k  = Σ_i w_ik g_i + α Σ_i ∂L/∂s_ik q_i
#
# δ is subtracted by a product: -δ is appended to g, and a one to the values.

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

from keras import ops

from kd_keras.losses.custom_gradient import Gradient, custom_gradient
from kd_keras.losses.matmul import transpose, transposed_product
from kd_keras.losses.tensor import Size, Tensor

# What passes from one block to the next.
_State = TypeVar("_State")


def self_attention(features: Tensor, alpha: float, chunk_size: int) -> Tensor:
    """phi(a_i, A): every token of a map attends to it, `chunk_size` at a time."""

    @custom_gradient
    def attend(features: Tensor) -> tuple[Tensor, Gradient]:
        features_t = transpose(features)
        step = functools.partial(_attend_to_self, features, features_t, alpha)
        attended = _over_blocks(features, chunk_size, step, ops.copy(features))

        def gradient(upstream: Tensor) -> Tensor:
            step = functools.partial(
                _differentiate_self,
                features,
                features_t,
                transpose(_append_one(features)),
                _append_delta(upstream, attended),
                alpha,
            )
            state = _SelfGradient(ops.copy(features), ops.zeros_like(features))
            return ops.add(*_over_blocks(features, chunk_size, step, state))

        return attended, gradient

    return attend(features)


def _attend_to_self(
    features: Tensor,
    features_t: Tensor,
    alpha: float,
    start: Size,
    size: Size,
    attended: Tensor,
) -> Tensor:
    # The result of a block takes the place of its queries. Blocks thus wait for each
    # other, of which TensorFlow's graphs would run ten at once.
    block = _slice(attended, start, size)
    weights = ops.softmax(ops.matmul(alpha * block, features_t))
    return _update(attended, start, ops.matmul(weights, features))


class _SelfGradient(NamedTuple):
    """The gradient of the tokens: as queries, which it replaces, and as values."""

    as_query: Tensor
    as_value: Tensor


def _differentiate_self(
    features: Tensor,
    features_t: Tensor,
    features_one_t: Tensor,
    upstream_delta: Tensor,
    alpha: float,
    start: Size,
    size: Size,
    state: _SelfGradient,
) -> _SelfGradient:
    block = _slice(state.as_query, start, size)
    d_attended = _slice(upstream_delta, start, size)
    weights = ops.softmax(ops.matmul(alpha * block, features_t))
    d_scores = weights * ops.matmul(d_attended, features_one_t)
    as_value = state.as_value + transposed_product(weights, d_attended[..., :-1])
    as_value += transposed_product(d_scores, alpha * block)
    d_block = alpha * ops.matmul(d_scores, features)
    return _SelfGradient(_update(state.as_query, start, d_block), as_value)


def cross_attention(
    teacher: Tensor,
    student: Tensor,
    alpha: float,
    chunk_size: int,
    of_student: bool,
    of_teacher: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The tokens of each map attend to the other map; the gradient is the student's.

    A block of scores, student tokens by all teacher tokens, serves both directions:
    each of its rows holds all scores of one a_i, and the columns, one for each r_j,
    gather over the blocks relative to the largest score so far.

    Args:
        chunk_size: Student tokens per block.
        of_student, of_teacher: Which queries are wanted.
    Returns:
        phi(a_i, R) and phi(r_j, A), None if not wanted.
    """

    @custom_gradient
    def attend(student: Tensor, teacher: Tensor) -> tuple[Tensor, Gradient]:
        teacher_t = transpose(teacher)
        step = functools.partial(_attend_across, teacher, teacher_t, alpha, of_student)
        columns = _no_columns(teacher, teacher_t) if of_teacher else ()
        state = ops.copy(student), columns
        rows, columns = _over_blocks(student, chunk_size, step, state)
        results = [rows] if of_student else []
        if columns:
            results.append(columns.sums / transpose(columns.z))

        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
            d_rows: tuple[Tensor, ...] = ()
            d_columns: tuple[Tensor, ...] = ()
            num_rows = ops.shape(student)[1] if of_student else 0
            if of_student:
                delta = _append_delta(upstream[:, :num_rows], rows)
                d_rows = delta, transpose(_append_one(teacher))
            if columns:
                scaled = upstream[:, num_rows:] / transpose(columns.z)
                delta_t = transpose(_append_delta(scaled, results[-1]))
                d_columns = columns.peak, scaled, delta_t
            step = functools.partial(
                _differentiate_across, teacher, teacher_t, alpha, d_rows, d_columns
            )
            gradient = _over_blocks(student, chunk_size, step, ops.copy(student))
            return gradient, ops.zeros_like(teacher)

        return ops.concatenate(results, axis=1), gradient

    # One tensor carries both results, as PyTorch's custom gradients need it.
    both = attend(student, teacher)
    num_rows = ops.shape(student)[1] if of_student else 0
    return (
        both[:, :num_rows] if of_student else None,
        both[:, num_rows:] if of_teacher else None,
    )


class _Columns(NamedTuple):
    """What each r_j has read so far, by weights w_j relative to its largest score.

    Attributes:
        peak: The largest score, (batch, 1, teacher's tokens), like
        z: Σ_i w_ji.
        sums: Σ_i w_ji a_i, in the shape of the teacher's map.
    """

    peak: Tensor
    z: Tensor
    sums: Tensor


# phi(a_i, R) so far, in the blocks to come still a_i; and what each r_j has read, or
# nothing if it is not wanted.
_Readings: TypeAlias = tuple[Tensor, _Columns | tuple[()]]


def _no_columns(teacher: Tensor, teacher_t: Tensor) -> _Columns:
    zero = ops.zeros_like(teacher_t[:, :1])
    return _Columns(zero - float("inf"), zero, ops.zeros_like(teacher))


def _attend_across(
    teacher: Tensor,
    teacher_t: Tensor,
    alpha: float,
    of_student: bool,
    start: Size,
    size: Size,
    state: _Readings,
) -> _Readings:
    rows, columns = state
    block = _slice(rows, start, size)
    scores = ops.matmul(alpha * block, teacher_t)
    if of_student:
        attended = ops.matmul(ops.softmax(scores), teacher)
        rows = _update(rows, start, attended)
    return rows, columns and _add_block(columns, block, scores)


def _add_block(columns: _Columns, block: Tensor, scores: Tensor) -> _Columns:
    peak = ops.maximum(columns.peak, ops.max(scores, axis=1, keepdims=True))
    weights = ops.exp(scores - peak)
    decay = ops.exp(columns.peak - peak)
    z = decay * columns.z + ops.sum(weights, axis=1, keepdims=True)
    sums = transpose(decay) * columns.sums
    sums += transposed_product(weights, block)
    return _Columns(peak, z, sums)


def _differentiate_across(
    teacher: Tensor,
    teacher_t: Tensor,
    alpha: float,
    d_rows: tuple[Tensor, ...],
    d_columns: tuple[Tensor, ...],
    start: Size,
    size: Size,
    gradient: Tensor,
) -> Tensor:
    block = _slice(gradient, start, size)
    scores = ops.matmul(alpha * block, teacher_t)
    d_scores = d_block = 0.0
    if d_rows:
        d_attended, teacher_one_t = d_rows
        d_weights = ops.matmul(_slice(d_attended, start, size), teacher_one_t)
        d_scores = ops.softmax(scores) * d_weights
    if d_columns:
        peak, d_attended, d_attended_delta_t = d_columns
        weights = ops.exp(scores - peak)
        d_weights = ops.matmul(_append_one(block), d_attended_delta_t)
        d_scores += weights * d_weights
        d_block = ops.matmul(weights, d_attended)
    d_block += alpha * ops.matmul(d_scores, teacher)
    return _update(gradient, start, d_block)


def _append_delta(upstream: Tensor, attended: Tensor) -> Tensor:
    """Appends a channel with -δ, as in the equations at the head."""
    delta = ops.sum(upstream * attended, axis=-1, keepdims=True)
    return ops.concatenate([upstream, -delta], axis=-1)


def _append_one(values: Tensor) -> Tensor:
    return ops.concatenate([values, ops.ones_like(values[..., :1])], axis=-1)


def _over_blocks(
    tokens: Tensor,
    chunk_size: int,
    step: Callable[[Size, Size, _State], _State],
    state: _State,
) -> _State:
    """Runs `step(start, size, state)` over all blocks of `tokens`, the last ragged."""
    # Counted here: a count that the forward pass hands to the backward pass is no
    # constant to XLA, which then cannot compile blocks of that size.
    num_tokens = ops.shape(tokens)[1]
    known = isinstance(num_tokens, int)
    # XLA compiles the loop also if no block is full.
    size = (min if known else ops.minimum)(chunk_size, num_tokens)
    full = num_tokens // size
    state = ops.fori_loop(0, full, lambda i, state: step(i * size, size, state), state)
    rest = num_tokens - full * size
    if isinstance(rest, int) and rest == 0:
        return state
    return step(full * size, rest, state)


def _slice(tokens: Tensor, start: Size, size: Size) -> Tensor:
    batch, _, channels = ops.shape(tokens)
    return ops.slice(tokens, (0, start, 0), (batch, size, channels))


def _update(tokens: Tensor, start: Size, block: Tensor) -> Tensor:
    return ops.slice_update(tokens, (0, start, 0), block)
