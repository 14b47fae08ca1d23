"""The feature loss against eq. 3-5 written as loops, and its laws."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from kd_keras.losses import AttentionalPoolingLoss, attentional_pooling
from tests import gradients
from tests.attention_maps import DIRECTIONS, feature_maps, unreduced

BACKEND = keras.backend.backend()
# Maps of one token are softmaxes over one score.
pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
needs_gradients = pytest.mark.skipif(
    BACKEND == "numpy", reason="the NumPy backend has no gradients"
)

DISTANCES = (("squared", 1.0), ("huber", 1.0), ("huber", 0.1))


# The equations as loops. Complex numbers pass through, for the gradients.


def pool(query, values, alpha):
    """phi(q, V) of section 2.2."""
    scores = [alpha * np.sum(value * query) for value in values]
    largest = max(score.real for score in scores)
    weights = [np.exp(score - largest) for score in scores]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def elementwise(distance, delta, x):
    if distance == "squared":
        return x**2
    if abs(x.real) <= delta:
        return x**2 / 2
    return delta * (x * np.sign(x.real) - delta / 2)


def one_sided(queries, left, right, alpha, distance, delta, tokens):
    """Eq. 4 or 5."""
    total = 0.0
    for query in queries:
        for x in pool(query, left, alpha) - pool(query, right, alpha):
            total = total + elementwise(distance, delta, x)
    return total / len(queries) if tokens == "mean" else total


def equations(teacher, student, alpha, direction, distance, delta, tokens):
    """The loss of one example: (tokens, channels) each."""
    options = alpha or teacher.shape[-1] ** -0.5, distance, delta, tokens
    loss = 0.0
    if direction != "teacher_to_student":
        loss = loss + one_sided(student, teacher, student, *options)
    if direction != "student_to_teacher":
        loss = loss + one_sided(teacher, student, teacher, *options)
    return loss


def by_hand(teacher, student, **options):
    """Values (batch,) and the gradient of their sum, from the equations."""
    teacher, student = (
        x.astype("float64").reshape(len(x), -1, x.shape[-1]) for x in (teacher, student)
    )
    values = [equations(r, a, **options) for r, a in zip(teacher, student, strict=True)]
    gradient = [
        gradients.complex_step(lambda a, r=r: equations(r, a, **options), a)
        for r, a in zip(teacher, student, strict=True)
    ]
    return np.array(values), np.stack(gradient)


SHAPES = (
    ((2, 1, 2, 3, 4), (2, 2, 2, 2, 4)),
    ((1, 5, 3), (1, 2, 2, 3)),
    ((2, 3, 1, 2), (2, 4, 2)),
    ((1, 1, 5), (1, 3, 5)),
)


@pytest.mark.parametrize("tokens", ["mean", "sum"])
@pytest.mark.parametrize(("distance", "delta"), DISTANCES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("alpha", [None, 0.05, 2.5])
def test_matches_the_equations_written_as_loops(
    alpha, direction, distance, delta, tokens
):
    options = {
        "alpha": alpha,
        "direction": direction,
        "distance": distance,
        "delta": delta,
        "tokens": tokens,
    }
    for seed, shapes in enumerate(SHAPES):
        teacher, student = feature_maps(*shapes, seed=seed)
        values, gradient = by_hand(teacher, student, **options)
        for chunk_size in (None, 3) if seed == 0 else (None,):
            loss = unreduced(**options, chunk_size=chunk_size)
            got, got_gradient = gradients.value_and_gradient(
                lambda a, loss=loss, r=teacher: loss(r, a), student
            )
            np.testing.assert_allclose(got, values, rtol=1e-5)
            if got_gradient is not None:
                got_gradient = got_gradient.reshape(gradient.shape)
                assert gradients.relative_error(got_gradient, gradient) < 1e-5
                largest = np.abs(gradient).max()
                np.testing.assert_allclose(
                    got_gradient, gradient, rtol=1e-5, atol=1e-5 * largest
                )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("chunk_size", [1, 3, 8, 11, np.int64(11), 100])
def test_blocks_change_nothing(chunk_size, direction):
    teacher, student = feature_maps((2, 8, 6), (2, 12, 6))
    for maps in ((teacher, student), (student, teacher)):
        results = [
            gradients.value_and_gradient(
                lambda a, size=size, r=maps[0]: unreduced(
                    chunk_size=size, direction=direction, tokens="sum"
                )(r, a),
                maps[1],
            )
            for size in (None, chunk_size)
        ]
        (value, gradient), (blocked_value, blocked_gradient) = results
        np.testing.assert_allclose(blocked_value, value, rtol=1e-5)
        if gradient is not None:
            assert gradients.relative_error(blocked_gradient, gradient) < 1e-5


def test_matches_in_float64_at_the_size_of_a_real_map():
    # Matrix products instead of loops: 300 x 260 tokens of 64 channels.
    teacher, student = feature_maps((2, 3, 10, 10, 64), (2, 260, 64), seed=1)

    def read(queries, values):
        scores = np.einsum("bqc,bkc->bqk", queries, values) / 8.0
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return weights @ values / weights.sum(axis=-1, keepdims=True)

    r, a = teacher.reshape(2, 300, 64).astype("float64"), student.astype("float64")
    want = np.square(read(a, r) - read(a, a)).sum(axis=(1, 2)) / 260
    want += np.square(read(r, a) - read(r, r)).sum(axis=(1, 2)) / 300
    for chunk_size in (None, 64, 128):
        got = unreduced(chunk_size=chunk_size)(teacher, student)
        np.testing.assert_allclose(ops.convert_to_numpy(got), want, rtol=1e-5)


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_pooling_matches_phi(alpha):
    values, queries = feature_maps((2, 5, 4), (2, 3, 4))
    got = ops.convert_to_numpy(attentional_pooling(queries, values, alpha))
    assert got.shape == (2, 3, 4)
    for example, row in itertools.product(range(2), range(3)):
        want = pool(
            queries[example, row].astype("float64"),
            values[example].astype("float64"),
            alpha or 0.5,
        )
        np.testing.assert_allclose(got[example, row], want, rtol=1e-5)


def test_pooling_is_average_pooling_for_small_alpha_and_the_nearest_for_large():
    values = np.array([[[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]]], "float32")
    queries = np.array([[[1.0, 0.0]]], "float32")
    average = attentional_pooling(queries, values, alpha=1e-6)
    np.testing.assert_allclose(
        ops.convert_to_numpy(average), values.mean(axis=1, keepdims=True), rtol=1e-4
    )
    nearest = attentional_pooling(queries, values, alpha=1e3)
    np.testing.assert_allclose(ops.convert_to_numpy(nearest), values[:, :1], atol=1e-6)


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_is_zero_when_contents_only_moved(chunk_size):
    teacher, other = feature_maps((2, 2, 3, 2, 8), (2, 2, 3, 2, 8))
    moved = teacher.reshape(2, 12, 8)[:, np.random.default_rng(0).permutation(12)]
    loss = unreduced(chunk_size=chunk_size)
    for same in (teacher, moved, moved.reshape(2, 3, 4, 8)):
        value, gradient = gradients.value_and_gradient(lambda a: loss(teacher, a), same)
        np.testing.assert_allclose(value, 0.0, atol=1e-10)
        if gradient is not None:
            np.testing.assert_allclose(gradient, 0.0, atol=1e-5)
    assert ops.convert_to_numpy(loss(teacher, other)).min() > 0.01


@needs_gradients
@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_teacher_gets_no_gradient(direction, chunk_size):
    teacher, student = feature_maps((2, 5, 3), (2, 4, 3))
    loss = unreduced(direction=direction, chunk_size=chunk_size)
    _, gradient = gradients.value_and_gradient(lambda r: loss(r, student), teacher)
    assert gradient is None or not gradient.any()


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_stored_self_attention_of_the_teacher_changes_nothing(direction, chunk_size):
    teacher, student = feature_maps((2, 2, 2, 2, 6), (2, 5, 6))
    loss = unreduced(direction=direction, chunk_size=chunk_size, alpha=0.7)
    attended = ops.convert_to_numpy(loss.teacher_self_attention(teacher))
    assert attended.shape == teacher.shape
    np.testing.assert_allclose(
        attended.reshape(2, 8, 6),
        ops.convert_to_numpy(
            attentional_pooling(teacher.reshape(2, 8, 6), teacher, alpha=0.7)
        ),
        rtol=1e-5,
    )
    value, gradient = gradients.value_and_gradient(lambda a: loss(teacher, a), student)
    stored_value, stored_gradient = gradients.value_and_gradient(
        lambda a: loss((teacher, attended), a), student
    )
    np.testing.assert_allclose(stored_value, value, rtol=1e-5)
    if gradient is not None:
        assert gradients.relative_error(stored_gradient, gradient) < 1e-5


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("scale", [1e2, 1e4, 1e6])
def test_large_scores_stay_finite(scale, chunk_size):
    teacher, student = feature_maps((2, 8, 6), (2, 7, 6))
    loss = unreduced(chunk_size=chunk_size)
    value, gradient = gradients.value_and_gradient(
        lambda a: loss(scale * teacher, a), scale * student
    )
    assert np.isfinite(value).all()
    assert gradient is None or np.isfinite(gradient).all()
    # Every softmax has become a maximum.
    sharp = by_sharp_pooling(scale * teacher, scale * student)
    np.testing.assert_allclose(value, sharp, rtol=1e-4)


def by_sharp_pooling(teacher, student):
    """The symmetric loss where phi(q, V) is the value with the largest score."""

    def nearest(queries, values):
        return values[np.argmax(queries @ values.T, axis=1)]

    pairs = zip(teacher.astype("float64"), student.astype("float64"), strict=True)
    return [
        sum(np.square(nearest(q, r) - nearest(q, a)).sum(axis=1).mean() for q in (a, r))
        for r, a in pairs
    ]


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float16"])
def test_computes_in_float32_under_any_policy(policy, chunk_size):
    teacher, student = feature_maps((2, 8, 6), (2, 7, 6))
    want = ops.convert_to_numpy(AttentionalPoolingLoss(tokens="sum")(teacher, student))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        for dtype in (None, policy):
            loss = AttentionalPoolingLoss(
                tokens="sum", chunk_size=chunk_size, dtype=dtype
            )
            got = loss(teacher, student)
            assert keras.backend.standardize_dtype(got.dtype) == "float32"
            np.testing.assert_allclose(ops.convert_to_numpy(got), want, rtol=1e-5)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_half_precision_features_are_only_read_as_such(dtype):
    # Channels are small integers, which every type holds exactly.
    random = np.random.default_rng(0)
    maps = [random.integers(0, 4, shape) for shape in ((2, 8, 6), (2, 7, 6))]
    teacher, student = (ops.cast(ops.convert_to_tensor(x), dtype) for x in maps)
    want = unreduced(alpha=0.1)(*(x.astype("float32") for x in maps))
    got = unreduced(alpha=0.1)(teacher, student)
    got_by_call = unreduced(alpha=0.1).call(teacher, student)
    for each in (got, got_by_call):
        assert keras.backend.standardize_dtype(each.dtype) == "float32"
        np.testing.assert_array_equal(
            ops.convert_to_numpy(each), ops.convert_to_numpy(want)
        )


def test_reduces_as_keras_losses_do():
    teacher, student = feature_maps((3, 4, 5), (3, 6, 5))
    values = ops.convert_to_numpy(unreduced()(teacher, student))
    assert values.shape == (3,)
    weights = np.array([0.0, 1.0, 2.0], "float32")
    mean = AttentionalPoolingLoss()(teacher, student, sample_weight=weights)
    np.testing.assert_allclose(
        ops.convert_to_numpy(mean), (values * weights).mean(), rtol=1e-6
    )
    total = AttentionalPoolingLoss(reduction="sum")(teacher, student)
    np.testing.assert_allclose(ops.convert_to_numpy(total), values.sum(), rtol=1e-6)


def test_serialization_round_trip():
    options = {
        "alpha": 0.3,
        "direction": "teacher_to_student",
        "distance": "huber",
        "delta": 0.5,
        "tokens": "sum",
        "chunk_size": 3,
        "reduction": "sum",
        "name": "features",
    }
    loss = AttentionalPoolingLoss(**options)
    saved = keras.losses.serialize(loss)
    assert saved["registered_name"] == "kd_keras>AttentionalPoolingLoss"
    copy = keras.losses.deserialize(saved)
    assert copy.get_config() == loss.get_config()
    assert loss.get_config() == {**options, "dtype": "float32"}
    assert all(getattr(copy, name) == value for name, value in options.items())
    teacher, student = feature_maps((2, 5, 3), (2, 4, 3))
    assert float(copy(teacher, student)) == float(loss(teacher, student))
    plain = AttentionalPoolingLoss()
    assert keras.losses.deserialize(keras.losses.serialize(plain)).alpha is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "`alpha` must be a finite number > 0. Got 0.0"),
        ({"alpha": -1}, "`alpha` .* Got -1"),
        ({"alpha": float("nan")}, "`alpha` .* Got nan"),
        ({"alpha": "sharp"}, "`alpha` .* Got 'sharp'"),
        ({"direction": "both"}, "`direction` must be one of .*symmetric.* Got 'both'"),
        ({"distance": "l1"}, "`distance` must be one of .*huber.* Got 'l1'"),
        ({"delta": 0}, "`delta` .* Got 0"),
        ({"tokens": "max"}, "`tokens` must be one of .*mean.* Got 'max'"),
        ({"chunk_size": 0}, "`chunk_size` must be a number of tokens >= 1.* Got 0"),
        ({"chunk_size": 2.5}, "`chunk_size` .* Got 2.5"),
        ({"chunk_size": True}, "`chunk_size` .* Got True"),
    ],
)
def test_rejects_invalid_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        AttentionalPoolingLoss(**options)


def test_rejects_maps_that_cannot_be_compared():
    loss = AttentionalPoolingLoss()
    with pytest.raises(ValueError, match=r"same number of channels.*8, 6.*7, 5"):
        loss(*feature_maps((2, 8, 6), (2, 7, 5)))
    with pytest.raises(ValueError, match=r"same batch.*\(3, 8, 6\).*\(2, 8, 6\)"):
        loss(*feature_maps((3, 8, 6), (2, 8, 6)))
    with pytest.raises(ValueError, match=r"Student features must have .*\(2, 6\)"):
        loss(*feature_maps((2, 8, 6), (2, 6)))
    with pytest.raises(
        ValueError, match=r"their self-attention must have the same shape.*\(2, 7, 6\)"
    ):
        teacher, student = feature_maps((2, 8, 6), (2, 8, 6))
        loss((teacher, teacher[:, :7]), student)
    with pytest.raises(ValueError, match="`alpha`"):
        attentional_pooling(teacher, student, alpha=-1.0)
