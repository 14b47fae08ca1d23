"""Attentional pooling in blocks of tokens: memory linear in the number of tokens.

Scores of one block of tokens exist at a time; the backward pass computes them again.
All maps are float32 (batch, tokens, channels).
"""

from keras import ops

from kd_keras.losses.custom_gradient import custom_gradient
from kd_keras.losses.matmul import transpose, transposed_product


def self_attention(features, alpha, chunk_size):
    """phi(a_i, A): every token of a map attends to it, `chunk_size` at a time."""
    num_tokens = ops.shape(features)[1]

    @custom_gradient
    def attend_all(features):
        features_t = transpose(features)

        def attend(start, size, attended):
            # The result of a block takes the place of its queries. Blocks thus wait
            # for each other, of which TensorFlow's graphs would run ten at once.
            block = _slice(attended, start, size)
            weights = ops.softmax(ops.matmul(alpha * block, features_t))
            return _update(attended, start, ops.matmul(weights, features))

        attended = _over_blocks(attend, num_tokens, chunk_size, ops.copy(features))

        def gradient(upstream):
            upstream_delta = _append_delta(upstream, attended)
            features_one_t = transpose(_append_one(features))

            def differentiate(start, size, state):
                as_query, as_value = state
                block = _slice(as_query, start, size)
                d_attended = _slice(upstream_delta, start, size)
                weights = ops.softmax(ops.matmul(alpha * block, features_t))
                d_scores = weights * ops.matmul(d_attended, features_one_t)
                as_value += transposed_product(weights, d_attended[..., :-1])
                as_value += transposed_product(d_scores, alpha * block)
                d_block = alpha * ops.matmul(d_scores, features)
                return _update(as_query, start, d_block), as_value

            state = ops.copy(features), ops.zeros_like(features)
            state = _over_blocks(differentiate, num_tokens, chunk_size, state)
            return ops.add(*state)

        return attended, gradient

    return attend_all(features)


def cross_attention(teacher, student, alpha, chunk_size, of_student, of_teacher):
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
    num_tokens = ops.shape(student)[1]
    num_rows = num_tokens if of_student else 0

    @custom_gradient
    def attend_both(student, teacher):
        teacher_t = transpose(teacher)

        def attend(start, size, state):
            rows, peak, z, sums = state
            block = _slice(rows, start, size)
            scores = ops.matmul(alpha * block, teacher_t)
            if of_student:
                attended = ops.matmul(ops.softmax(scores), teacher)
                rows = _update(rows, start, attended)
            if of_teacher:
                last_peak = peak
                peak = ops.maximum(peak, ops.max(scores, axis=1, keepdims=True))
                weights = ops.exp(scores - peak)
                decay = ops.exp(last_peak - peak)
                z = decay * z + ops.sum(weights, axis=1, keepdims=True)
                sums = transpose(decay) * sums
                sums += transposed_product(weights, block)
            return rows, peak, z, sums

        zero = ops.zeros_like(teacher_t[:, :1])
        state = ops.copy(student), zero - float("inf"), zero, ops.zeros_like(teacher)
        state = _over_blocks(attend, num_tokens, chunk_size, state)
        rows, peak, z, sums = state
        results = [rows] if of_student else []
        if of_teacher:
            z_t = transpose(z)
            columns = sums / z_t
            results.append(columns)

        def gradient(upstream):
            if of_student:
                d_rows = _append_delta(upstream[:, :num_rows], rows)
                teacher_one_t = transpose(_append_one(teacher))
            if of_teacher:
                d_columns = upstream[:, num_rows:] / z_t
                d_columns_delta_t = transpose(_append_delta(d_columns, columns))

            def differentiate(start, size, gradient):
                block = _slice(gradient, start, size)
                scores = ops.matmul(alpha * block, teacher_t)
                d_scores = d_block = 0.0
                if of_student:
                    d_attended = _slice(d_rows, start, size)
                    d_weights = ops.matmul(d_attended, teacher_one_t)
                    d_scores = ops.softmax(scores) * d_weights
                if of_teacher:
                    weights = ops.exp(scores - peak)
                    d_weights = ops.matmul(_append_one(block), d_columns_delta_t)
                    d_scores += weights * d_weights
                    d_block = ops.matmul(weights, d_columns)
                d_block += alpha * ops.matmul(d_scores, teacher)
                return _update(gradient, start, d_block)

            d_student = _over_blocks(
                differentiate, num_tokens, chunk_size, ops.copy(student)
            )
            return d_student, ops.zeros_like(teacher)

        return ops.concatenate(results, axis=1), gradient

    # One tensor carries both results, as PyTorch's custom gradients need it.
    both = attend_both(student, teacher)
    return (
        both[:, :num_rows] if of_student else None,
        both[:, num_rows:] if of_teacher else None,
    )


def _append_delta(upstream, attended):
    """Appends a channel with -δ, δ = Σ_k w_k ∂L/∂w_k.

    The gradient of softmax subtracts δ from every ∂L/∂w_k = upstream · v_k; with a one
    appended to the values their product does so. As `attended` is Σ_k w_k v_k, δ is
    upstream · attended.
    """
    delta = ops.sum(upstream * attended, axis=-1, keepdims=True)
    return ops.concatenate([upstream, -delta], axis=-1)


def _append_one(values):
    return ops.concatenate([values, ops.ones_like(values[..., :1])], axis=-1)


def _over_blocks(step, num_tokens, chunk_size, state):
    """Runs `step(start, size, state)` over all blocks, the last one ragged."""
    if isinstance(num_tokens, int):
        chunk_size = min(chunk_size, num_tokens)
    full = num_tokens // chunk_size
    state = ops.fori_loop(
        0, full, lambda i, state: step(i * chunk_size, chunk_size, state), state
    )
    rest = num_tokens - full * chunk_size
    if isinstance(rest, int) and rest == 0:
        return state
    return step(full * chunk_size, rest, state)


def _slice(tokens, start, size):
    batch, _, channels = ops.shape(tokens)
    return ops.slice(tokens, (0, start, 0), (batch, size, channels))


def _update(tokens, start, block):
    return ops.slice_update(tokens, (0, start, 0), block)
