"""Attentional pooling in blocks of tokens: memory linear in the number of tokens.

Scores of one block of tokens exist at a time. The forward pass keeps, besides the
readings, the log of every normalizing constant Z; the backward pass recomputes each
block's weights from it. All maps are float32 (batch, tokens, channels).
"""

from keras import ops


def cross_readings(teacher, student, alpha, chunk_size, of_student, of_teacher):
    """Reads each map with the tokens of the other; the gradient is the student's.

    Args:
        chunk_size: Student tokens per block.
        of_student, of_teacher: Which queries are wanted.
    Returns:
        phi(a_i, R) and phi(r_j, A), None where not wanted. Both come from one product
        A Rᵀ.
    """

    @ops.custom_gradient
    def readings(student, teacher):
        student = ops.stop_gradient(student)  # TensorFlow would record every block.
        rows, columns = _read(
            student, teacher, alpha, chunk_size, of_student, of_teacher
        )
        read = [each[0] for each in (rows, columns) if each is not None]

        def gradient(*arguments, upstream=None):
            upstream = arguments[-1] if upstream is None else upstream
            by_rows = by_columns = None
            if of_student:
                by_rows = _with_delta(upstream[:, :num_rows], *rows)
            if of_teacher:
                by_columns = _with_delta(upstream[:, num_rows:], *columns)
            d_student = _differentiate(
                student, teacher, alpha, chunk_size, by_rows, by_columns
            )
            return d_student, ops.zeros_like(teacher)

        return ops.concatenate(read, axis=1), gradient

    # One tensor carries both readings: not every backend has custom gradients of
    # functions with several results.
    num_rows = ops.shape(student)[1] if of_student else 0
    read = readings(student, teacher)
    return (
        read[:, :num_rows] if of_student else None,
        read[:, num_rows:] if of_teacher else None,
    )


def self_reading(features, alpha, chunk_size):
    """phi(a_i, A): reads a map with its own tokens."""

    @ops.custom_gradient
    def reading(features):
        features = ops.stop_gradient(features)  # As in `cross_readings`.
        rows, _ = _read(features, features, alpha, chunk_size, True, False)

        def gradient(*arguments, upstream=None):
            upstream = arguments[-1] if upstream is None else upstream
            # Scores are symmetric: as a query a token is a row, as a key and a value
            # it is a column of the same weights.
            upstream = _with_delta(upstream, *rows)
            return _differentiate(
                features, features, alpha, chunk_size, upstream, upstream
            )

        return rows[0], gradient

    return reading(features)


def _read(queries, keys, alpha, chunk_size, of_rows, of_columns):
    """Readings and log Z (batch, tokens, 1) of rows and of columns of the scores.

    Rows are whole in their block. Columns gather over the blocks: sums relative to the
    largest score so far, rescaled when a larger one comes.
    """
    keys_t = ops.transpose(keys, (0, 2, 1))
    zero = ops.zeros_like(queries[:, :, :1])
    state = {}
    if of_rows:
        state.update(rows=ops.copy(queries), row_log_z=zero)
    if of_columns:
        zero = ops.zeros_like(keys_t[:, :1])
        state.update(peak=zero - float("inf"), z=zero, sums=ops.zeros_like(keys))

    def step(start, size, state):
        # Reading takes the place of the queries that it is made of: no block can then
        # start before the last one ended. TensorFlow's graphs would run ten at once.
        block = _slice(state.get("rows", queries), start, size)
        scores = ops.matmul(alpha * block, keys_t)
        state = dict(state)
        if of_rows:
            peak = ops.max(scores, axis=2, keepdims=True)
            weights = ops.exp(scores - peak)
            z = ops.sum(weights, axis=2, keepdims=True)
            reading = ops.matmul(weights, keys) / z
            state["rows"] = _update(state["rows"], start, reading)
            state["row_log_z"] = _update(state["row_log_z"], start, peak + ops.log(z))
        if of_columns:
            peak = ops.maximum(state["peak"], ops.max(scores, axis=1, keepdims=True))
            weights = ops.exp(scores - peak)
            decay = ops.exp(state["peak"] - peak)
            state["peak"] = peak
            state["z"] = decay * state["z"] + ops.sum(weights, axis=1, keepdims=True)
            state["sums"] = ops.transpose(decay, (0, 2, 1)) * state[
                "sums"
            ] + ops.matmul(ops.transpose(weights, (0, 2, 1)), block)
        return state

    state = _over_blocks(step, ops.shape(queries)[1], chunk_size, state)
    rows = columns = None
    if of_rows:
        rows = state["rows"], state["row_log_z"]
    if of_columns:
        reading = state["sums"] / ops.transpose(state["z"], (0, 2, 1))
        log_z = state["peak"] + ops.log(state["z"])
        columns = reading, ops.transpose(log_z, (0, 2, 1))
    return rows, columns


def _with_delta(upstream, reading, log_z):
    """Adds Σ_k w_k ∂L/∂w_k, which the softmax gradient subtracts.

    As the reading is Σ_k w_k v_k, it is the product of upstream and reading.
    """
    return upstream, ops.sum(upstream * reading, axis=-1, keepdims=True), log_z


def _differentiate(queries, keys, alpha, chunk_size, by_rows, by_columns):
    """Gradient of the tokens that are queries of rows, and keys and values of columns.

    `by_rows` and `by_columns` hold what `_with_delta` returns, or None.
    """
    keys_t = ops.transpose(keys, (0, 2, 1))
    if by_columns is not None:
        column_upstream = by_columns[0]
        column_upstream_t, column_delta, column_log_z = (
            ops.transpose(each, (0, 2, 1)) for each in by_columns
        )

    def step(start, size, gradient):
        block = _slice(gradient, start, size)  # In place, as in `_read`.
        scores = ops.matmul(alpha * block, keys_t)
        d_scores = d_block = 0.0
        if by_rows is not None:
            upstream, delta, log_z = (_slice(each, start, size) for each in by_rows)
            d_weights = ops.matmul(upstream, keys_t)
            d_scores = _weights(scores, log_z) * (d_weights - delta)
        if by_columns is not None:
            weights = _weights(scores, column_log_z)
            d_weights = ops.matmul(block, column_upstream_t)
            d_scores = d_scores + weights * (d_weights - column_delta)
            d_block = ops.matmul(weights, column_upstream)
        d_block = d_block + alpha * ops.matmul(d_scores, keys)
        return _update(gradient, start, d_block)

    tokens = ops.shape(queries)[1]
    return _over_blocks(step, tokens, chunk_size, ops.copy(queries))


def _weights(scores, log_z):
    # At most 1, which a huge score that rounds differently here would exceed.
    return ops.exp(ops.minimum(scores - log_z, 0.0))


def _over_blocks(step, tokens, chunk_size, state):
    """Runs `step(start, size, state)` over all blocks, the last one ragged."""
    if isinstance(tokens, int):
        chunk_size = min(chunk_size, tokens)
    full = tokens // chunk_size
    state = ops.fori_loop(
        0, full, lambda i, state: step(i * chunk_size, chunk_size, state), state
    )
    rest = tokens - full * chunk_size
    if isinstance(rest, int) and rest == 0:
        return state
    return step(full * chunk_size, rest, state)


def _slice(tokens, start, size):
    batch, _, channels = ops.shape(tokens)
    return ops.slice(tokens, (0, start, 0), (batch, size, channels))


def _update(tokens, start, block):
    return ops.slice_update(tokens, (0, start, 0), block)
