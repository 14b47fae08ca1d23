"""Mixtures are weighted means of two pairs, and have no label."""

import numpy as np
import pytest
import tensorflow as tf

from kd_keras.data.batches.fields import (
    FUTURE,
    INDEX,
    LABEL,
    LABELED,
    MIXUP_WEIGHT,
    OBSERVED,
    OTHER_LABEL,
)
from kd_keras.data.batches.mixup import with_mixup

_SIZE = 6


def _batches(dtype, num=4, shape=(2, 4, 4, 3)):
    """Batches of random clips, of which every third has no label."""
    random = np.random.default_rng(0)
    clips = random.integers(0, 256, (2, num, _SIZE, *shape)).astype(dtype)
    labels = np.arange(num * _SIZE, dtype=np.int32).reshape(num, _SIZE)
    fields = {
        OBSERVED: clips[0],
        FUTURE: clips[1],
        LABEL: labels,
        LABELED: labels % 3 != 0,
        INDEX: labels.astype(np.int64),
    }
    return tf.data.Dataset.from_tensor_slices(fields)


def _arrays(batches):
    return list(batches.as_numpy_iterator())


def _weights(batch, mixed, field, row):
    """The weight of the first clip by least squares, and what it does not explain."""
    one, other, seen = (
        np.float64(clips[field][index]).ravel()
        for clips, index in ((batch, row), (batch, row - 1), (mixed, row))
    )
    weight = (seen - other) @ (one - other) / ((one - other) @ (one - other))
    return weight, np.abs(weight * one + (1 - weight) * other - seen).max()


@pytest.mark.parametrize(("dtype", "error"), [("uint8", 0.6), ("float32", 1e-3)])
def test_a_mixture_is_one_weighted_mean_of_both_clips_of_two_pairs(dtype, error):
    batches = _batches(dtype)
    weights = []
    pairs = zip(_arrays(batches), _arrays(with_mixup(batches, 0.5)), strict=True)
    for batch, mixed in pairs:
        assert mixed[OBSERVED].dtype == dtype
        for row in range(3):
            observed, rest = _weights(batch, mixed, OBSERVED, row)
            future, further = _weights(batch, mixed, FUTURE, row)
            said = mixed[MIXUP_WEIGHT][row]
            assert observed == pytest.approx(said, abs=0.01)
            assert future == pytest.approx(said, abs=0.01)
            assert max(rest, further) < error
            weights.append(observed)
        assert mixed[LABELED].tolist() == [False] * 3 + batch[LABELED][3:].tolist()
        for field in (OBSERVED, FUTURE):
            np.testing.assert_array_equal(mixed[field][3:], batch[field][3:])
        for field in (LABEL, INDEX):
            np.testing.assert_array_equal(mixed[field], batch[field])
        np.testing.assert_array_equal(mixed[OTHER_LABEL], np.roll(batch[LABEL], 1))
        assert mixed[MIXUP_WEIGHT][3:].tolist() == [1, 1, 1]
    assert len(np.unique(np.round(weights, 4))) == 12
    assert 0 <= min(weights) < 0.4 and 0.6 < max(weights) <= 1


@pytest.mark.parametrize(("share", "num_mixed"), [(0, 0), (0.3, 2), (1, _SIZE)])
def test_the_share_counts_pairs_of_a_batch(share, num_mixed):
    batches = _batches("uint8", num=1)
    (batch,), (mixed,) = _arrays(batches), _arrays(with_mixup(batches, share))
    changed = (mixed[OBSERVED] != batch[OBSERVED]).any((1, 2, 3, 4)).tolist()
    assert changed == [row < num_mixed for row in range(_SIZE)]


def test_stored_features_are_mixed_too():
    batches = _batches("float32", num=1, shape=(5, 7))
    (batch,), (mixed,) = _arrays(batches), _arrays(with_mixup(batches, 1))
    assert _weights(batch, mixed, FUTURE, 3)[1] < 1e-3


def test_the_weights_are_a_function_of_seed_and_step():
    batches = _batches("uint8")
    whole = _arrays(with_mixup(batches, 0.5, seed=3))
    resumed = _arrays(with_mixup(batches.skip(2), 0.5, seed=3, start_step=2))
    for batch, expected in zip(resumed, whole[2:], strict=True):
        np.testing.assert_array_equal(batch[OBSERVED], expected[OBSERVED])
    other = _arrays(with_mixup(batches, 0.5, seed=4))
    assert not np.array_equal(whole[0][OBSERVED], other[0][OBSERVED])


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        with_mixup(_batches("uint8"), share)
