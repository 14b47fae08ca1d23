"""One KL divergence for labels and pseudo-labels, against NumPy in float64."""

import keras
import numpy as np
import pytest
from keras import ops

from kd_keras.losses import SoftLabelLoss, soft_label_divergence, soft_targets
from tests import gradients


def softmax(x):
    weights = np.exp(x - x.max())
    return weights / weights.sum()


def by_hand(targets, logits, temperatures):
    """Values (batch,) and the gradient of their sum with respect to the logits."""
    values, gradient = [], []
    for target, z, t in zip(
        targets.astype("float64"), logits.astype("float64"), temperatures, strict=True
    ):
        p = np.where(target > 0, target, 0.0) ** (1 / t)
        p /= p.sum()
        q = softmax(z / t)
        terms = [a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0]
        values.append(t**2 * sum(terms))
        gradient.append(t * (q - p))
    return np.array(values), np.array(gradient)


def distributions(batch, classes, seed=0):
    """Probabilities with a few zeros, and logits."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(classes, 0.5), size=batch)
    probabilities[:, 1] = 0.0
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    logits = random.normal(scale=3.0, size=(batch, classes))
    return probabilities.astype("float32"), logits.astype("float32")


LABEL = np.array([3, 0, -1, 2])
LABELED = np.array([True, True, False, False])


def test_picks_the_label_where_there_is_one():
    teacher, _ = distributions(4, 5)
    got = ops.convert_to_numpy(soft_targets(LABEL, LABELED, teacher))
    np.testing.assert_array_equal(got[:2], np.eye(5)[[3, 0]])
    np.testing.assert_array_equal(got[2:], teacher[2:])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_matches_numpy(temperature):
    teacher, logits = distributions(4, 5)
    targets = ops.convert_to_numpy(soft_targets(LABEL, LABELED, teacher))
    per_example = np.where(LABELED, 1.0, temperature)
    loss = SoftLabelLoss(temperature, reduction=None)
    for function, temperatures in (
        (lambda z: soft_label_divergence(targets, z, temperature), [temperature] * 4),
        (lambda z: soft_label_divergence(targets, z, per_example), per_example),
        (lambda z: loss(targets, z), [temperature] * 4),
        (lambda z: loss((targets, LABELED), z), per_example),
    ):
        want, want_gradient = by_hand(targets, logits, temperatures)
        got, gradient = gradients.value_and_gradient(function, logits)
        np.testing.assert_allclose(got, want, rtol=1e-5)
        if gradient is not None:
            assert gradients.relative_error(gradient, want_gradient) < 1e-5


def test_one_hot_targets_give_the_cross_entropy():
    _, logits = distributions(6, 5)
    one_hot = np.eye(5, dtype="float32")[[0, 1, 2, 3, 4, 0]]
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True)
    np.testing.assert_allclose(
        float(SoftLabelLoss()(one_hot, logits)),
        float(theirs(one_hot, logits)),
        rtol=1e-6,
    )


def test_is_zero_for_the_teachers_own_logits_at_any_temperature():
    _, logits = distributions(3, 7)
    teacher = np.stack([softmax(z) for z in logits.astype("float64")])
    for temperature in (1.0, 3.0):
        value, gradient = gradients.value_and_gradient(
            lambda z, t=temperature: soft_label_divergence(teacher, z, t), logits
        )
        np.testing.assert_allclose(value, 0.0, atol=1e-5)
        if gradient is not None:
            np.testing.assert_allclose(gradient, 0.0, atol=1e-5)


def test_large_logits_stay_finite():
    targets = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]], "float32")
    logits = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, -1e30]], "float32")
    value, gradient = gradients.value_and_gradient(
        lambda z: soft_label_divergence(targets, z, 2.0), logits
    )
    np.testing.assert_allclose(value, [4e4, 0.0], rtol=1e-6)
    assert gradient is None or np.isfinite(gradient).all()


def test_a_target_that_is_no_distribution_gives_nan():
    _, logits = distributions(4, 3)
    predicted = np.full((4, 3), [[1 / 3], [1 / 3], [np.nan], [1 / 3]], "float32")
    # The second label is out of range, and the teacher knows nothing of the third clip.
    targets = soft_targets(np.array([2, 3, 0, 0]), LABELED, predicted)
    found = ops.convert_to_numpy(soft_label_divergence(targets, logits))
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False])


def test_the_targets_get_no_gradient():
    teacher, logits = distributions(3, 4)
    _, gradient = gradients.value_and_gradient(
        lambda p: soft_label_divergence(p, logits, 2.0), teacher
    )
    assert gradient is None or not gradient.any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_computes_in_float32(dtype):
    targets = np.array([[0.25, 0.75], [1.0, 0.0]], "float32")
    logits = np.array([[0.5, -3.0], [8.0, 7.5]], "float32")
    want = ops.convert_to_numpy(soft_label_divergence(targets, logits))
    half = (ops.cast(ops.convert_to_tensor(x), dtype) for x in (targets, logits))
    got = soft_label_divergence(*half)
    assert keras.backend.standardize_dtype(got.dtype) == "float32"
    np.testing.assert_array_equal(ops.convert_to_numpy(got), want)
    under_policy = SoftLabelLoss(reduction=None, dtype=f"mixed_{dtype}")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(under_policy(targets, logits)), want
    )


def test_serialization_round_trip():
    loss = SoftLabelLoss(temperature=2.0, reduction="sum", name="labels")
    saved = keras.losses.serialize(loss)
    assert saved["registered_name"] == "kd_keras>SoftLabelLoss"
    assert keras.losses.deserialize(saved).get_config() == {
        "temperature": 2.0,
        "reduction": "sum",
        "name": "labels",
        "dtype": "float32",
    }


def test_rejects_what_it_cannot_use():
    with pytest.raises(ValueError, match="`temperature` must be .* > 0. Got 0"):
        SoftLabelLoss(temperature=0)
    targets, logits = distributions(2, 5)
    with pytest.raises(ValueError, match=r"same classes"):
        SoftLabelLoss()(targets[:, :4], logits)
    with pytest.raises(ValueError, match=r"\(batch, classes\). Got \(2,\)"):
        soft_label_divergence(targets[:, 0], logits)


def test_one_example_does_not_stand_for_several():
    targets, logits = distributions(2, 5)
    for few in ((targets[:1], logits), (targets, logits[:1])):
        with pytest.raises(ValueError, match=r"need the same examples"):
            SoftLabelLoss()(*few)
    with pytest.raises(ValueError, match=r"`labeled` must have .* Got \(1,\)"):
        SoftLabelLoss()((targets, np.array([True])), logits)
    one, both = np.array([1]), np.array([1, 2])
    with pytest.raises(ValueError, match=r"`label` must have .*\(2, 5\). Got \(1,\)"):
        soft_targets(one, both > 1, targets)
    with pytest.raises(ValueError, match=r"`label` must have .* Got \(2, 1\)"):
        soft_targets(both[:, None], both > 1, targets)
    with pytest.raises(ValueError, match=r"`labeled` must have .* Got \(1,\)"):
        soft_targets(both, one > 1, targets)
