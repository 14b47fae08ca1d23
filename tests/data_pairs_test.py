"""Pairs against intervals worked out by hand, and the laws of their choice."""

import collections
import fractions
import math

import numpy as np
import pytest

from kd_keras.data.pairs import (
    Timing,
    labeled_pairs,
    previous_labels,
    summarize_pairs,
    withhold_labels,
)
from kd_keras.data.segments import Clip, Pair, Segment
from tests import indexes
from tests.indexes import make_index, needs_ceiling, spans


@pytest.fixture
def kitchen():
    return indexes.kitchen()


def test_labeled_pairs_by_hand(kitchen):
    pairs = labeled_pairs(kitchen, "train", Timing(lead_time_s=1.0, observed_s=2.0))
    assert pairs == [
        Pair(Clip("a", 1.0, 3.0), Clip("a", 4.0, 6.0), 1),
        Pair(Clip("a", 7.0, 9.0), Clip("a", 10.0, 14.0), 0),
        Pair(Clip("a", 10.0, 12.0), Clip("a", 13.0, 16.0), 1),
    ]
    assert labeled_pairs(kitchen, "val", Timing(0.5, 1.5)) == [
        Pair(Clip("v", 3.0, 4.5), Clip("v", 5.0, 6.0), 0)
    ]
    assert labeled_pairs(kitchen, "test", Timing(0.5, 1.5)) == []


def test_future_of_a_length_may_pass_the_segment_but_not_the_video():
    index = make_index(
        [Segment("a", 4.0, 5.0, "x"), Segment("a", 7.0, 9.0, "x")], {"a": 9.5}
    )
    pairs = labeled_pairs(index, "train", Timing(1.0, 1.0, future_s=3.0))
    assert spans(pairs) == [(2.0, 3.0, 4.0, 7.0), (5.0, 6.0, 7.0, 9.5)]


def test_early_segments_are_kept_padded_and_counted():
    starts_s = [0.0, 1.0, 1.5, 3.0, 4.0]
    index = make_index([Segment("a", s, s + 1, "x") for s in starts_s], {"a": 9.0})
    pairs = labeled_pairs(index, "train", Timing(lead_time_s=1.0, observed_s=2.0))
    assert spans(pairs) == [
        (-3.0, -1.0, 0.0, 1.0),
        (-2.0, 0.0, 1.0, 2.0),
        (-1.5, 0.5, 1.5, 2.5),
        (0.0, 2.0, 3.0, 4.0),
        (1.0, 3.0, 4.0, 5.0),
    ]
    summary = summarize_pairs(pairs)
    assert (summary.num_pairs, summary.num_padded, summary.num_unseen) == (5, 3, 2)


def test_before_the_first_frame_nothing_is_seen():
    times_s = 1.5 + np.arange(75) / 10
    starts_s = [2.0, 2.5, 3.0, 4.5, 5.0]
    segments = [Segment("a", s, s + 1, "x") for s in starts_s]
    index = make_index(segments, {"a": 9.0}, times_s={"a": times_s})
    pairs = labeled_pairs(index, "train", Timing(lead_time_s=1.0, observed_s=2.0))
    summary = summarize_pairs(pairs, index)
    assert (summary.num_pairs, summary.num_padded, summary.num_unseen) == (5, 3, 2)


def test_rounding_is_not_padding():
    # 1.2 - 1 - 0.2 is -5.6e-17 in floats.
    index = make_index([Segment("a", 1.2, 2.0, "x")], {"a": 9.0})
    assert (
        summarize_pairs(labeled_pairs(index, "train", Timing(1.0, 0.2))).num_padded == 0
    )


def clip_of(num_frames, frame_rate):
    """An index of one video that is one segment."""
    duration_s = num_frames / frame_rate
    return make_index(
        [Segment("a", 0.0, duration_s, "x")],
        {"a": duration_s},
        times_s={"a": np.arange(num_frames) / frame_rate},
    )


@pytest.mark.parametrize("frame_rate", [25.0, 12.0, 30000 / 1001])
@pytest.mark.parametrize("fraction", ["0.2", "0.1", "0.5", "0.7", "0.145", "1"])
def test_fraction_of_frames_is_exact(frame_rate, fraction):
    for num_frames in range(1, 101):
        index = clip_of(num_frames, frame_rate)
        (pair,) = labeled_pairs(
            index, "train", Timing(observed_fraction=float(fraction))
        )
        exact = fractions.Fraction(fraction) * num_frames
        expected = max(1, math.floor(exact + fractions.Fraction(1, 2)))
        times_s = [k / frame_rate for k in range(num_frames)]
        assert sum(t < pair.observed.end_s for t in times_s) == expected
        assert pair.observed.end_s == expected / frame_rate
        assert pair.observed.start_s == 0
        assert pair.future == Clip("a", 0.0, num_frames / frame_rate)


def test_a_fifth_of_jhmdb_is_three_to_eight_frames():
    expected = {15: 3, 17: 3, 18: 4, 22: 4, 23: 5, 27: 5, 28: 6, 32: 6, 33: 7, 38: 8}
    expected[40] = 8
    for num_frames, num_observed in expected.items():
        index = clip_of(num_frames, 25.0)
        (pair,) = labeled_pairs(index, "train", Timing(observed_fraction=0.2))
        assert pair.observed == Clip("a", 0.0, num_observed / 25)


def test_fraction_of_a_segment_within_a_video():
    times_s = {"a": np.round(np.arange(120) / 12, 3)}  # as Matroska rounds them
    index = make_index([Segment("a", 2.0, 3.0, "x")], {"a": 10.0}, times_s=times_s)
    # 12 frames; a quarter is 3, which last 0.25 s.
    (pair,) = labeled_pairs(index, "train", Timing(1.0, 2.0, observed_fraction=0.25))
    assert pair == Pair(Clip("a", 2.0, 2.25), Clip("a", 2.0, 3.0), 0)


def test_fraction_of_unevenly_spaced_frames():
    times_s = {"a": [0.0, 0.1, 0.5, 0.9, 1.0, 1.9]}
    index = make_index([Segment("a", 0.0, 2.0, "x")], {"a": 2.0}, times_s=times_s)
    (pair,) = labeled_pairs(index, "train", Timing(observed_fraction=0.5))
    assert pair.observed == Clip("a", 0.0, 0.9)


def test_fraction_needs_the_frames():
    index = make_index([Segment("a", 2.0, 3.0, "x")], {"a": 10.0})
    with pytest.raises(ValueError, match=r"Fill Index.infos"):
        labeled_pairs(index, "train", Timing(observed_fraction=0.2))


def test_wrong_part(kitchen):
    with pytest.raises(ValueError, match=r"train, val, test, held_out. Got 'training'"):
        labeled_pairs(kitchen, "training", Timing(1.0, 1.0))


def many_classes():
    sizes = {"rare": 1, "few": 3, "some": 10, "many": 86}
    segments = [
        Segment("a", 2.0 * i, 2.0 * i + 1, label)
        for label, size in sizes.items()
        for i in range(size)
    ]
    segments += [Segment("v", 0.0, 1.0, "many"), Segment("a", 300.0, 301.0, None)]
    return make_index(segments, {"a": 400.0, "v": 9.0}, val=["v"])


def kept(index):
    return {s for s in index.segments if s.video == "a" and s.label is not None}


def test_withheld_labels_keep_the_shares_of_the_classes():
    half = kept(withhold_labels(many_classes(), 0.5))
    counts = collections.Counter(segment.label for segment in half)
    assert sum(counts.values()) == 50
    assert counts["rare"] == 1
    assert abs(counts["few"] - 1.5) <= 1
    assert abs(counts["some"] - 5) <= 1
    assert abs(counts["many"] - 43) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_every_class_keeps_a_label(seed):
    counts = collections.Counter(
        segment.label for segment in kept(withhold_labels(many_classes(), 0.001, seed))
    )
    assert counts == {"rare": 1, "few": 1, "some": 1, "many": 1}


def test_withholding_is_repeatable_nested_and_blind_to_the_order():
    index = many_classes()
    half = withhold_labels(index, 0.5, seed=3)
    assert half == withhold_labels(index, 0.5, seed=3)
    assert half != withhold_labels(index, 0.5, seed=4)
    assert kept(withhold_labels(index, 0.3, seed=3)) < kept(half)
    backwards = make_index(index.segments[::-1], index.durations_s, val=["v"])
    assert kept(withhold_labels(backwards, 0.5, seed=3)) == kept(half)


def test_withholding_touches_nothing_else():
    index = many_classes()
    half = withhold_labels(index, 0.5)
    assert withhold_labels(index, 1.0) == index
    assert half.segments[-2:] == index.segments[-2:]
    assert half.classes == index.classes
    for before, after in zip(index.segments, half.segments, strict=True):
        assert (before.video, before.start_s) == (after.video, after.start_s)
        assert after.withheld == (before.label != after.label)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, math.nan])
def test_wrong_fraction_of_labels(fraction):
    with pytest.raises(ValueError, match="labeled_fraction must be above 0"):
        withhold_labels(many_classes(), fraction)


def test_summary_counts_footage_once():
    pairs = [
        Pair(Clip("a", -1.0, 1.0), Clip("a", 2.0, 4.0), 0),
        Pair(Clip("a", 1.0, 3.0), Clip("a", 3.5, 5.0), None),
        Pair(Clip("b", 0.0, 1.0), Clip("b", 9.0, 10.0), 1),
    ]
    summary = summarize_pairs(pairs)
    assert (summary.num_labeled, summary.num_unlabeled) == (2, 1)
    assert summary.num_videos == 2
    assert summary.footage_hours == pytest.approx((5 + 2) / 3600)
    assert "3 pairs (2 labeled, 1 unlabeled)" in str(summary)
    assert "1 observed clips are padded" in str(summary)
    assert summarize_pairs([]).footage_hours == 0


@needs_ceiling
def test_real_annotations():
    ceiling = indexes.ceiling()
    train = labeled_pairs(ceiling, "train", Timing(1.0, 2.0))
    assert (len(train), len(labeled_pairs(ceiling, "val", Timing(1.0, 2.0)))) == (
        197,
        91,
    )
    # First row: 4.181, 7.389, walk; class 8 of the nine in alphabetical order.
    first = train[0]
    assert (first.observed.start_s, first.observed.end_s) == pytest.approx(
        (1.181, 3.181)
    )
    assert (first.future.start_s, first.future.end_s, first.label) == (4.181, 7.389, 8)
    assert summarize_pairs(train).num_padded == 7


def test_previous_labels_by_hand():
    # Wash at 4, cut at 10, wash at 13: at 12 s, 1 s ahead, the cut has begun.
    pairs = labeled_pairs(indexes.kitchen(), "train", Timing(1.0, 2.0))
    assert previous_labels(pairs) == [None, 1, 0]
    assert previous_labels(pairs[::-1]) == [0, 1, None]
    far = labeled_pairs(indexes.kitchen(), "train", Timing(3.5, 2.0))
    assert previous_labels(far) == [None, 1, 1]
    assert previous_labels([]) == []


def test_previous_labels_match_loops():
    random = np.random.default_rng(0)
    starts_s = np.round(random.uniform(0, 60, 80), 1)
    segments = [
        Segment("ab"[i % 2], s, s + 3.0, "xyz"[i % 3]) for i, s in enumerate(starts_s)
    ]
    index = make_index(segments, {"a": 90.0, "b": 90.0})
    pairs = labeled_pairs(index, "train", Timing(0.5, 1.0))
    for place, (pair, found) in enumerate(
        zip(pairs, previous_labels(pairs), strict=True)
    ):
        before = [
            (other.future.start_s, number, other.label)
            for number, other in enumerate(pairs)
            if other.future.video == pair.future.video
            and number != place
            and other.future.start_s <= pair.future.start_s - 0.5 + 1e-9
        ]
        assert found == (max(before)[2] if before else None)


def test_actions_that_start_at_once_do_not_tell_of_each_other():
    segments = [Segment("a", 4.0, 6.0, "x"), Segment("a", 4.0, 7.0, "y")]
    index = make_index(segments, {"a": 9.0})
    assert previous_labels(labeled_pairs(index, "train", Timing(0.0, 1.0))) == [
        None,
        None,
    ]
