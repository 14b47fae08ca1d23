"""The direct loss against NumPy loops in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from kd_keras.losses import AttentionalPoolingLoss, DirectLoss
from tests import gradients


def by_hand(teacher, student, distance, delta, tokens):
    """Values (batch,) and the gradient of their sum."""
    teacher, student = teacher.astype("float64"), student.astype("float64")
    values = np.zeros(len(teacher))
    gradient = np.zeros_like(student)
    for index in np.ndindex(*student.shape):
        x = student[index] - teacher[index]
        if distance == "squared":
            value, slope = x**2, 2 * x
        elif abs(x) <= delta:
            value, slope = x**2 / 2, x
        else:
            value, slope = delta * (abs(x) - delta / 2), delta * np.sign(x)
        values[index[0]] += value
        gradient[index] = slope
    scale = np.prod(student.shape[1:-1]) if tokens == "mean" else 1.0
    return values / scale, gradient / scale


def feature_maps(*shapes):
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype("float32") for shape in shapes]


@pytest.mark.parametrize("tokens", ["mean", "sum"])
@pytest.mark.parametrize(
    ("distance", "delta"), [("squared", 1.0), ("huber", 1.0), ("huber", 0.2)]
)
@pytest.mark.parametrize("shape", [(3, 2, 3, 2, 4), (2, 5, 3), (1, 1, 1)])
def test_matches_loops(shape, distance, delta, tokens):
    options = {"distance": distance, "delta": delta, "tokens": tokens}
    teacher, student = feature_maps(shape, shape)
    want, want_gradient = by_hand(teacher, student, **options)
    loss = DirectLoss(**options, reduction=None)
    got, gradient = gradients.value_and_gradient(lambda a: loss(teacher, a), student)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    if gradient is not None:
        np.testing.assert_allclose(gradient, want_gradient, rtol=1e-5, atol=1e-7)


def test_is_zero_on_equal_maps_and_the_teacher_gets_no_gradient():
    teacher, student = feature_maps((2, 3, 4), (2, 3, 4))
    loss = DirectLoss(reduction=None)
    assert not ops.convert_to_numpy(loss(teacher, teacher)).any()
    _, gradient = gradients.value_and_gradient(lambda r: loss(r, student), teacher)
    assert gradient is None or not gradient.any()


def test_huber_equals_keras_huber():
    teacher, student = feature_maps((2, 6, 4), (2, 6, 4))
    ours = DirectLoss(distance="huber", delta=0.7)(teacher, student)
    # Keras averages over channels, where this loss sums.
    theirs = 4 * keras.losses.Huber(delta=0.7)(teacher, student)
    np.testing.assert_allclose(float(ours), float(theirs), rtol=1e-6)


def test_is_float32_inside_whatever_the_policy():
    teacher, student = feature_maps((2, 3, 4), (2, 3, 4))
    want = DirectLoss()(teacher, student)
    got = DirectLoss(dtype="mixed_float16")(teacher, student)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    assert float(got) == float(want)


def test_serialization_round_trip():
    loss = DirectLoss("huber", 0.3, "sum", reduction="sum", name="direct")
    saved = keras.losses.serialize(loss)
    assert saved["registered_name"] == "kd_keras>DirectLoss"
    copy = keras.losses.deserialize(saved)
    assert copy.get_config() == loss.get_config()
    assert copy.get_config() == {
        "distance": "huber",
        "delta": 0.3,
        "tokens": "sum",
        "reduction": "sum",
        "name": "direct",
        "dtype": "float32",
    }


def test_rejects_what_it_cannot_use():
    with pytest.raises(ValueError, match="`distance` must be one of .* Got 'cosine'"):
        DirectLoss("cosine")
    with pytest.raises(ValueError, match="`delta` must be a finite number > 0. Got -1"):
        DirectLoss(delta=-1)
    with pytest.raises(ValueError, match="`tokens` must be one of .* Got None"):
        DirectLoss(tokens=None)
    for shape in ((2, 4, 4), (2, 3, 5), (3, 3, 4), (2, 3, 1, 4)):
        with pytest.raises(ValueError, match="same shape.*AttentionalPoolingLoss"):
            DirectLoss()(*feature_maps((2, 3, 4), shape))
    with pytest.raises(ValueError, match=r"at least one axis of positions.*\(2, 4\)"):
        DirectLoss()(*feature_maps((2, 4), (2, 4)))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="masks are not seen")
@pytest.mark.parametrize("loss", [DirectLoss(), AttentionalPoolingLoss()])
def test_maps_with_a_mask_are_refused(loss):
    tokens = np.ones((2, 3, 4), "float32")
    tokens[1, 2] = 0.0
    masked = keras.layers.Masking()(tokens)
    for maps in ((tokens, masked), (masked, tokens)):
        with pytest.raises(ValueError, match="Got a map with a Keras mask"):
            loss(*maps)
    assert float(loss(tokens, ops.copy(masked))) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="masks are not seen")
@pytest.mark.parametrize("loss", [DirectLoss(), AttentionalPoolingLoss()])
def test_maps_with_a_mask_are_refused_by_fit(loss):
    tokens = np.ones((2, 3, 4), "float32")
    model = keras.Sequential([keras.Input((3, 4)), keras.layers.Masking()])
    model.compile(optimizer="sgd", loss=loss)
    with pytest.raises(ValueError, match="Got a map with a Keras mask"):
        model.evaluate(tokens, tokens, verbose=0)
