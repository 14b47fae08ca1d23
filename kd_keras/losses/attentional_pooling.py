"""Attentional pooling and the feature loss built on it (paper, section 2.2)."""

import numbers

import keras
from keras import ops

from kd_keras.losses import chunked_attention, dense_attention, feature_maps
from kd_keras.losses.tensor import Tensor

DIRECTIONS = ("symmetric", "student_to_teacher", "teacher_to_student")

# Up to here the four matrices of scores of one example take 64 MiB and are kept.
_MAX_TOKENS_IN_ONE_BLOCK = 2048
# If the size of the batch is known, more tokens are kept, up to this.
_MAX_BYTES_IN_ONE_BLOCK = 2**30
# Long enough for fast products, short enough for memory: 25 MB for 12,544 tokens.
_CHUNK_SIZE = 512


def attentional_pooling(
    queries: Tensor, values: Tensor, alpha: float | None = None
) -> Tensor:
    """phi of the paper: the amount of each query in a map.

    phi(q, V) = Σ_k w_k v_k with w = softmax(alpha V q): near the average of the values
    for a small alpha, the value most similar to the query for a large one.

    Args:
        queries: (batch, queries, channels).
        values: (batch, tokens, channels).
        alpha: Sharpness, > 0. None means 1/sqrt(channels).
    Returns:
        (batch, queries, channels), float32.
    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import kd_keras
        >>> values = np.array([[[1, 0], [0, 1]]], "float32")
        >>> query = values[:, :1]
        >>> sharp = kd_keras.attentional_pooling(query, values, alpha=100.0)
        >>> keras.ops.convert_to_numpy(sharp).round(2).tolist()
        [[[1.0, 0.0]]]
        >>> flat = kd_keras.attentional_pooling(query, values, alpha=1e-3)
        >>> keras.ops.convert_to_numpy(flat).round(2).tolist()
        [[[0.5, 0.5]]]
    """
    values = feature_maps.to_tokens(values, "Values")
    return ops.matmul(attention_weights(queries, values, alpha), values)


def attention_weights(
    queries: Tensor, values: Tensor, alpha: float | None = None
) -> Tensor:
    """w of the paper: how much each query attends to each token of a map.

    Args:
        queries: (batch, ..., channels).
        values: (batch, ..., channels).
        alpha: As in `attentional_pooling`.
    Returns:
        (batch, queries, tokens), float32; the weights of a query sum to 1.
    """
    _check_alpha(alpha)
    feature_maps.check_comparable(queries, values, "Queries and values")
    queries = feature_maps.to_tokens(queries, "Queries")
    values = feature_maps.to_tokens(values, "Values")
    return ops.softmax(
        dense_attention.scores_of(queries, values, _sharpness(alpha, values))
    )


@keras.saving.register_keras_serializable(package="kd_keras")
class AttentionalPoolingLoss(keras.losses.Loss):
    """Compares feature maps whose contents may have moved (paper, eq. 3-5).

    Every token of a map attends to both maps by attentional pooling; the loss is
    the distance between the two results.

    Args:
        alpha: Sharpness of the attention, > 0. None means 1/sqrt(channels).
        direction: Whose tokens are the queries: "student_to_teacher" (eq. 4),
            "teacher_to_student" (eq. 5), or "symmetric", the sum of both (eq. 3).
        distance: "squared" sums squares over channels; "huber" sums the elementwise
            Huber loss, x²/2 up to `delta` and linear beyond.
        delta: Beyond this Huber is linear, > 0.
        tokens: "sum" adds the queries as printed in eq. 4-5; "mean" divides each of
            the two sums by its number of queries, so that the weight of the loss does
            not depend on the size of the map.
        chunk_size: Query tokens per block. Blocks bound memory to chunk_size x tokens
            and are recomputed in the backward pass. None keeps all in one block up to
            2,048 tokens (64 MiB per example), or while all examples together take no
            more than 1 GiB; it takes 512 tokens beyond, or if sizes are not known
            before the graph runs.
        reduction, name: As in every Keras loss.
        dtype: As in every Keras loss, but values are float32 under any policy.
    Shapes:
        y_true: Teacher features (batch, ..., channels), which get no gradient; or the
            pair (features, attended) with what `teacher_self_attention` returned for
            them: computed once per clip, it saves two of seven products.
        y_pred: Student features (batch, ..., channels): as many channels, any number
            of tokens. Unreduced result: (batch,).
    Raises:
        ValueError: If an argument is invalid, batch or channels differ, or a map has
            a Keras mask.
    Examples:
        Both maps hold the same eight things, in other places. `DirectLoss` gives 2.0.

        >>> import numpy as np
        >>> import kd_keras
        >>> teacher_map = np.eye(8, dtype="float32").reshape(1, 2, 2, 2, 8)
        >>> student_map = np.roll(teacher_map, 1, axis=1)
        >>> loss = kd_keras.AttentionalPoolingLoss()
        >>> round(float(loss(teacher_map, student_map)), 6)
        0.0
        >>> float(loss(teacher_map, 0 * student_map)) > 0.1
        True
    """

    def __init__(
        self,
        alpha: float | None = None,
        direction: str = "symmetric",
        distance: str = "squared",
        delta: float = 1.0,
        tokens: str = "mean",
        chunk_size: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "attentional_pooling_loss",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        # Not `dtype`: half precision would lose the features before `call` sees them.
        super().__init__(name=name, reduction=reduction, dtype="float32")
        _check_alpha(alpha)
        feature_maps.check_choice("direction", direction, DIRECTIONS)
        feature_maps.check_distance(distance, delta, tokens)
        is_count = isinstance(chunk_size, numbers.Integral)
        is_count = is_count and not isinstance(chunk_size, bool)
        if chunk_size is not None and (not is_count or chunk_size < 1):
            raise ValueError(
                "`chunk_size` must be a number of tokens >= 1, or None to pick one. "
                f"Got {chunk_size!r}."
            )
        self.alpha = alpha
        self.direction = direction
        self.distance = distance
        self.delta = delta
        self.tokens = tokens
        self.chunk_size = None if chunk_size is None else int(chunk_size)

    def __call__(
        self,
        y_true: Tensor | tuple[Tensor, Tensor],
        y_pred: Tensor,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        feature_maps.check_unmasked(y_true)
        feature_maps.check_unmasked(y_pred)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Tensor | tuple[Tensor, Tensor], y_pred: Tensor) -> Tensor:
        own = None
        if isinstance(y_true, (tuple, list)):
            y_true, own = y_true
            feature_maps.check_same_shape(
                y_true,
                own,
                "Teacher features and their self-attention",
                "pass what `teacher_self_attention` returned for these features",
            )
            own = ops.stop_gradient(feature_maps.to_tokens(own, "Self-attention"))
        teacher = ops.stop_gradient(feature_maps.to_tokens(y_true, "Teacher features"))
        student = feature_maps.to_tokens(y_pred, "Student features")
        feature_maps.check_comparable(y_true, y_pred, "Teacher and student features")

        alpha = _sharpness(self.alpha, student)
        chunk_size = _chunk_size(self.chunk_size, teacher, student)
        of_student = self.direction != "teacher_to_student"
        of_teacher = self.direction != "student_to_teacher"
        student_in_teacher, teacher_in_student = _cross_attention(
            teacher, student, alpha, chunk_size, of_student, of_teacher
        )
        loss = 0.0
        if of_student:
            student_in_student = _self_attention(student, alpha, chunk_size)
            loss += self._distance(student_in_teacher, student_in_student)
        if of_teacher:
            if own is None:
                own = _self_attention(teacher, alpha, chunk_size)
            loss += self._distance(teacher_in_student, own)
        return loss

    def teacher_self_attention(self, teacher_features: Tensor) -> Tensor:
        """phi(r_i, R): every token of the teacher's map attends to the same map.

        It does not change while the teacher does not: store it with the features and
        pass both to the loss.

        Args:
            teacher_features: (batch, ..., channels).
        Returns:
            Float32, of the shape of the features.
        """
        teacher = feature_maps.to_tokens(teacher_features, "Teacher features")
        teacher = ops.stop_gradient(teacher)
        alpha = _sharpness(self.alpha, teacher)
        chunk_size = _chunk_size(self.chunk_size, teacher, teacher)
        attended = _self_attention(teacher, alpha, chunk_size)
        return ops.reshape(attended, ops.shape(teacher_features))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "direction": self.direction,
            "distance": self.distance,
            "delta": self.delta,
            "tokens": self.tokens,
            "chunk_size": self.chunk_size,
            "dtype": self.dtype,
        }

    def _distance(self, left: Tensor, right: Tensor) -> Tensor:
        return feature_maps.distance_per_example(
            left, right, self.distance, self.delta, self.tokens
        )


def _check_alpha(alpha: float | None) -> None:
    if alpha is not None:
        feature_maps.check_positive("alpha", alpha)


def _sharpness(alpha: float | None, tokens: Tensor) -> float:
    return tokens.shape[-1] ** -0.5 if alpha is None else alpha


def _chunk_size(chunk_size: int | None, teacher: Tensor, student: Tensor) -> int | None:
    """Tokens per block, or None for all in one block."""
    batch, *_ = ops.shape(student)
    counts = ops.shape(teacher)[1], ops.shape(student)[1]
    if not all(isinstance(count, int) for count in counts):
        return _CHUNK_SIZE if chunk_size is None else chunk_size
    tokens = max(counts)
    if chunk_size is not None:
        return None if tokens <= chunk_size else chunk_size
    # Four float32 matrices.
    fits = isinstance(batch, int) and 16 * batch * tokens**2 <= _MAX_BYTES_IN_ONE_BLOCK
    return None if fits or tokens <= _MAX_TOKENS_IN_ONE_BLOCK else _CHUNK_SIZE


def _cross_attention(
    teacher: Tensor,
    student: Tensor,
    alpha: float,
    chunk_size: int | None,
    of_student: bool,
    of_teacher: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """phi(a_i, R) and phi(r_j, A), from one product A Rᵀ; None if not wanted."""
    if chunk_size is None:
        return dense_attention.cross_attention(
            teacher, student, alpha, of_student, of_teacher
        )
    return chunked_attention.cross_attention(
        teacher, student, alpha, chunk_size, of_student, of_teacher
    )


def _self_attention(features: Tensor, alpha: float, chunk_size: int | None) -> Tensor:
    """phi(a_i, A)."""
    if chunk_size is None:
        return dense_attention.self_attention(features, alpha)
    return chunked_attention.self_attention(features, alpha, chunk_size)
