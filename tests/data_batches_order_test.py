"""What an endless stream shows how often, by counting."""

import collections

import numpy as np
import pytest

from kd_keras.data.batches.order import SampleOrder, SamplingPolicy, rows_of_worker
from kd_keras.data.segments import Clip, Pair

# 2, 7 and 1 labeled pairs of three classes, and 5 unlabeled ones.
_LABELS = [0, 0, *[1] * 7, 2, *[None] * 5]
_PAIRS = [
    Pair(Clip("v", n, n + 1), Clip("v", n + 1, n + 2), label)
    for n, label in enumerate(_LABELS)
]


def _shown(order, start, number):
    return [order.index(position) for position in range(start, start + number)]


def test_a_pass_shows_each_pair_once():
    order = SampleOrder(_PAIRS, seed=4)
    passes = [_shown(order, 15 * number, 15) for number in range(3)]
    for shown in passes:
        assert sorted(shown) == list(range(15))
    assert passes[0] != passes[1] != passes[2]
    assert _shown(SampleOrder(_PAIRS, seed=4), 20, 9) == _shown(order, 20, 9)


def test_a_balanced_pass_shows_each_class_equally_often():
    order = SampleOrder(_PAIRS, seed=1, sampling=SamplingPolicy(balanced=True))
    total = collections.Counter()
    for number in range(12):
        shown = _shown(order, 15 * number, 15)
        counts = collections.Counter(_LABELS[index] for index in shown)
        # 10 labeled places for three classes: one class has one more.
        assert sorted(counts[label] for label in range(3)) == [3, 3, 4]
        assert counts[None] == 5
        assert {index for index in shown if _LABELS[index] is None} == set(
            range(10, 15)
        )
        # No pair again before each of its class was shown.
        assert max(collections.Counter(i for i in shown if 1 < i < 9).values()) == 1
        total.update(shown)
    assert len({total[label] for label in (0, 1)}) <= 2
    assert set(total) == set(range(15))


def test_every_batch_has_its_share_of_labels():
    sampling = SamplingPolicy(labeled_per_batch=2, batch_size=6)
    order = SampleOrder(_PAIRS, seed=1, views=3, sampling=sampling)
    shown = np.array(_shown(order, 0, 6 * 5)).reshape(5, 6)
    labeled = shown < 10
    np.testing.assert_array_equal(labeled.sum(1), 2)
    # In each half, so that two devices have one each.
    np.testing.assert_array_equal(labeled[:, :3].sum(1), 1)
    for count in (1, 2):
        for worker in range(count):
            own = labeled[:, rows_of_worker(worker, count, 6)]
            np.testing.assert_array_equal(own.sum(1), 2 // count)
    # Passes of their own: 10 labeled and 4 times 5 unlabeled ones.
    assert sorted(shown[labeled]) == list(range(10))
    assert sorted(shown[~labeled]) == sorted(4 * list(range(10, 15)))
    views = [order.view(p) for p in range(30) if order.index(p) == 12]
    assert views == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("pairs", "labeled", "message"),
    [
        (_PAIRS, 6, "labeled_per_batch must lie between 1 and .* 5. Got 6"),
        (_PAIRS[:9], 2, "needs labeled and unlabeled pairs. Got 9 and 0"),
    ],
)
def test_shares_that_cannot_be_are_refused(pairs, labeled, message):
    with pytest.raises(ValueError, match=message):
        sampling = SamplingPolicy(labeled_per_batch=labeled, batch_size=6)
        SampleOrder(pairs, seed=1, sampling=sampling)
