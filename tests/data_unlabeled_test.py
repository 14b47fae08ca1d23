"""Unlabeled pairs: intervals worked out by hand, and the laws of their choice."""

import collections
import math
import statistics

import numpy as np
import pytest

from kd_keras.data.pairs import Timing, labeled_pairs, withhold_labels
from kd_keras.data.records import data_set as stored_data_set
from kd_keras.data.segments import Segment
from kd_keras.data.unlabeled import RULES, describe_footage, unlabeled_pairs
from tests import indexes
from tests.indexes import make_index, needs_ceiling, spans


@pytest.fixture
def kitchen():
    return indexes.kitchen()


def test_unlabeled_pairs_by_hand(kitchen):
    # Gaps: [0, 4), [6, 10), [16, 30). The median action lasts 3 s (2, 4, 3). The first
    # gap has room for no window, as an observed clip takes its first 3 s.
    pairs = unlabeled_pairs(kitchen, Timing(lead_time_s=1.0, observed_s=2.0))
    assert spans(pairs) == [
        (17.0, 19.0, 20.0, 22.0),  # the segment without a label
        (3.0, 5.0, 6.0, 9.0),
        (13.0, 15.0, 16.0, 19.0),
        (16.0, 18.0, 19.0, 22.0),
        (19.0, 21.0, 22.0, 25.0),
        (22.0, 24.0, 25.0, 28.0),
    ]
    assert {pair.label for pair in pairs} == {None}
    assert unlabeled_pairs(kitchen, Timing(1.0, 2.0), rule=None) == pairs[:1]


def test_observed_clips_can_be_kept_inside_the_gap(kitchen):
    pairs = unlabeled_pairs(kitchen, Timing(1.0, 1.0, future_s=2.0), rule="gaps")
    assert spans(pairs) == [
        (18.0, 19.0, 20.0, 22.0),
        (0.0, 1.0, 2.0, 4.0),
        (6.0, 7.0, 8.0, 10.0),
        (16.0, 17.0, 18.0, 20.0),
        (18.0, 19.0, 20.0, 22.0),
        (20.0, 21.0, 22.0, 24.0),
        (22.0, 23.0, 24.0, 26.0),
        (24.0, 25.0, 26.0, 28.0),
        (26.0, 27.0, 28.0, 30.0),
    ]


def test_windows_tile_a_gap_in_spite_of_rounding():
    index = make_index([Segment("a", 5.0, 5.1, "x")], {"a": 5.7})
    pairs = unlabeled_pairs(index, Timing(0.0, 1.0, future_s=0.1))
    after = [pair.future for pair in pairs if pair.future.start_s > 5]
    assert len(after) == 6
    assert after[-1].end_s <= 5.7


def test_long_unlabeled_footage_gives_windows_only():
    index = make_index(
        [Segment("a", 1.0, 3.0, "x"), Segment("b", 0.0, 10.0, None)],
        {"a": 3.0, "b": 10.0},
    )
    pairs = unlabeled_pairs(index, Timing(1.0, 1.0))
    assert spans(pairs) == [(s - 2, s - 1, s, s + 2) for s in (2.0, 4.0, 6.0, 8.0)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [None, 12])
def test_what_shows_no_picture_is_no_footage(rule, count):
    # The first picture comes at 5 s; the camera stands still from 20 s to 120 s.
    times_s = np.r_[5.0 + np.arange(150) / 10, 120.0 + np.arange(200) / 10]
    segments = [
        Segment("a", 8.0, 10.0, "x"),
        Segment("a", 3.0, 4.0, None),
        Segment("a", 60.0, 61.0, None),
        Segment("a", 126.0, 127.0, None),
    ]
    index = make_index(segments, {"a": 140.0}, times_s={"a": times_s})
    timing = Timing(lead_time_s=1.0, observed_s=1.0, future_s=1.0)
    pairs = unlabeled_pairs(index, timing, rule=rule, count=count)
    for pair in pairs:
        for clip in (pair.observed, pair.future):
            assert clip.start_s >= 5 and clip.end_s <= 140
            assert clip.end_s <= 20 + 1e-6 or clip.start_s >= 120
    starts_s = {pair.future.start_s for pair in pairs}
    if count is None:
        assert 126.0 in starts_s and 122.0 in starts_s and 121.0 not in starts_s
        first_s = {"gaps": 7.0, "anywhere": 7.0, "future_in_gap": 7.0}[rule]
        assert min(starts_s) == first_s
    again = stored_data_set.from_json(stored_data_set.to_json(index))
    assert unlabeled_pairs(again, timing, rule=rule, count=count) == pairs
    footage = describe_footage(index, pairs, timing, rule=rule)
    assert footage.gap_hours * 3600 == pytest.approx(33)


def test_validation_footage_is_never_used(kitchen):
    few = withhold_labels(kitchen, 0.1)
    pairs = unlabeled_pairs(few, Timing(1.0, 2.0), count=300)
    assert {clip.video for p in pairs for clip in (p.observed, p.future)} == {"a"}


def test_by_fraction_only_segments_are_used():
    frames = {"a": 15, "b": 20, "c": 30, "d": 40}
    index = make_index(
        [Segment(name, 0.0, n / 25, "x") for name, n in frames.items()],
        {name: n / 25 for name, n in frames.items()},
        times_s={name: np.arange(n) / 25 for name, n in frames.items()},
    )
    whole = labeled_pairs(index, "train", Timing(observed_fraction=0.2))
    half = withhold_labels(index, 0.5)
    labeled = labeled_pairs(half, "train", Timing(observed_fraction=0.2))
    unlabeled = unlabeled_pairs(half, Timing(observed_fraction=0.2))
    assert len(labeled) == len(unlabeled) == 2
    assert sorted(spans(labeled + unlabeled)) == sorted(spans(whole))


def test_a_draw_is_repeatable_nested_and_bounded(kitchen):
    labeled = [s for s in kitchen.segments if s.label is not None]
    index = make_index(labeled, kitchen.durations_s, "v")

    def draw(count, seed=0):
        timing = Timing(1.0, 2.0, 1.0)
        return unlabeled_pairs(index, timing, count=count, seed=seed)

    grid = draw(None)
    assert draw(9) == draw(9)
    assert draw(9) != draw(9, seed=1)
    assert len(set(draw(9))) == 9
    assert set(draw(5)) < set(draw(9)) < set(draw(99)) < set(draw(120))
    assert set(grid) < set(draw(99))
    assert draw(0) == []


def test_more_than_there_are_is_refused(kitchen):
    with pytest.raises(ValueError, match=r"count=9 .* there are 1, however"):
        unlabeled_pairs(kitchen, Timing(1.0, 2.0), rule=None, count=9)
    with pytest.raises(ValueError, match=r"count=9999 .* Lower count"):
        unlabeled_pairs(kitchen, Timing(1.0, 12.0, 1.0), rule="gaps", count=9999)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"lead_time_s": -1.0}, "lead_time_s must be at least 0 seconds. Got -1.0"),
        ({"lead_time_s": None}, "lead_time_s must .* Got None; give it, or observed"),
        ({"lead_time_s": math.nan}, "lead_time_s must"),
        ({"observed_s": 0.0}, "observed_s must be above 0"),
        ({"observed_s": None}, "observed_s must be above 0"),
        ({"observed_s": math.inf}, "observed_s must be above 0"),
        ({"future_s": 0.0}, "future_s must be above 0"),
        ({"observed_fraction": 0.0}, "observed_fraction must be above 0"),
        ({"observed_fraction": 1.5}, "observed_fraction must be above 0"),
    ],
)
def test_wrong_timing(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Timing(**{"lead_time_s": 1.0, "observed_s": 1.0, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"count": -1}, "count must be at least 0"),
        ({"rule": "gap"}, "rule must be one of gaps, .*anywhere. Got 'gap'"),
    ],
)
def test_wrong_arguments(kitchen, kwargs, message):
    with pytest.raises(ValueError, match=message):
        unlabeled_pairs(kitchen, Timing(1.0, 1.0), **kwargs)


def test_gaps_need_a_length(kitchen):
    index = make_index([Segment("a", 4.0, 6.0, None)], {"a": 9.0})
    with pytest.raises(ValueError, match=r"Give future_s in seconds"):
        unlabeled_pairs(index, Timing(1.0, 1.0))
    assert unlabeled_pairs(index, Timing(1.0, 1.0, future_s=1.0))


@needs_ceiling
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_real_annotations_half_labeled(fraction):
    ceiling = indexes.ceiling()
    index = withhold_labels(ceiling, fraction, seed=1)
    labeled = labeled_pairs(index, "train", Timing(1.0, 2.0))
    withheld = unlabeled_pairs(index, Timing(1.0, 2.0), rule=None)
    assert len(labeled) == math.floor(fraction * 197 + 0.5)
    whole = labeled_pairs(ceiling, "train", Timing(1.0, 2.0))
    assert sorted(spans(labeled + withheld)) == sorted(spans(whole))
    median_s = statistics.median(p.future.end_s - p.future.start_s for p in whole)
    windows = unlabeled_pairs(index, Timing(1.0, 2.0))[len(withheld) :]
    assert windows
    covered = collections.defaultdict(list)
    for segment in index.segments:
        if segment.label is not None:
            covered[segment.video].append(segment)
    for pair in windows:
        name, start_s, end_s = pair.future.video, pair.future.start_s, pair.future.end_s
        assert ceiling.videos[name].part == "train"
        assert end_s - start_s == pytest.approx(median_s, abs=1e-5)
        assert pair.observed.start_s >= -1e-9
        assert pair.observed.end_s == pytest.approx(start_s - 1.0)
        assert end_s <= ceiling.durations_s[name]
        assert not any(s.start_s < end_s and start_s < s.end_s for s in covered[name])


def overlapping(pairs):
    """Pairs of which a clip overlaps another pair's, by comparing each with each."""
    clips = [(n, c) for n, p in enumerate(pairs) for c in (p.observed, p.future)]
    return {
        n
        for n, one in clips
        for m, other in clips
        if n != m
        and one.video == other.video
        and one.start_s < other.end_s - 1e-6
        and other.start_s < one.end_s - 1e-6
    }


def test_rules_by_hand(kitchen):
    # Gaps: [0, 4), [6, 10), [16, 30); windows of 1 + 1 + 1 s.
    def starts_s(rule):
        pairs = unlabeled_pairs(kitchen, Timing(1.0, 1.0, 1.0), rule=rule)[1:]
        return [pair.future.start_s for pair in pairs]

    assert starts_s("gaps") == [2.0, 3.0, 8.0, 9.0, *np.arange(18.0, 30.0)]
    assert starts_s("future_in_gap") == [
        *(2.0, 3.0),
        *(6.0, 7.0, 8.0, 9.0),
        *np.arange(16.0, 30.0),
    ]
    assert starts_s("anywhere") == list(np.arange(2.0, 30.0))


@pytest.mark.parametrize(("rule", "fitting"), [("gaps", 6), ("anywhere", 10)])
def test_what_fits_is_drawn_without_overlap_and_counted(kitchen, rule, fitting):
    # 4 + 4 + 14 s of gaps and 30 s of video, by windows of 3 s.
    timing = Timing(lead_time_s=1.0, observed_s=1.0, future_s=1.0)
    index = make_index(
        [s for s in kitchen.segments if s.label is not None], kitchen.durations_s, "v"
    )
    pairs = unlabeled_pairs(index, timing, rule=rule, count=fitting, seed=5)
    assert overlapping(pairs) == set()
    footage = describe_footage(index, pairs, timing, rule=rule)
    assert (footage.num_disjoint, footage.num_sharing) == (fitting, 0)
    assert footage.pair_hours == footage.shown_hours == 2 * fitting / 3600
    more = unlabeled_pairs(index, timing, rule=rule, count=3 * fitting, seed=5)
    assert overlapping(more)
    assert set(pairs) < set(more)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [5, 20, 100, 400])
def test_drawn_windows_keep_the_rule(rule, count):
    index = withhold_labels(many_actions(), 0.5, seed=1)
    timing = Timing(lead_time_s=0.5, observed_s=0.8, future_s=1.1)
    pairs = unlabeled_pairs(index, timing, rule=rule, count=count, seed=2)
    assert len(pairs) == len(set(pairs)) == count
    labeled = [s for s in index.segments if s.label is not None]
    for pair in pairs:
        name = pair.future.video
        assert index.videos[name].part == "train"
        assert pair.observed.end_s == pytest.approx(pair.future.start_s - 0.5)
        if pair.uid:
            continue
        assert pair.observed.start_s >= -1e-6
        assert pair.future.end_s <= index.durations_s[name] + 1e-6
        free = {"gaps": pair.observed, "future_in_gap": pair.future}.get(rule)
        if free is not None:
            assert not any(
                s.start_s < pair.future.end_s - 1e-6 and free.start_s < s.end_s - 1e-6
                for s in labeled
                if s.video == name
            )
    assert {p.uid for p in pairs if p.uid} <= {
        s.uid for s in index.segments if s.withheld
    }
    assert any(pair.uid for pair in pairs)
    footage = describe_footage(index, pairs, timing, rule=rule)
    assert footage.num_sharing == len(overlapping(pairs))
    assert footage.num_pairs == count


@pytest.mark.parametrize("rule", RULES)
def test_no_more_disjoint_windows_fit_than_are_counted(rule):
    """On whole seconds, against the best choice by dynamic programming."""
    random = np.random.default_rng(3)
    for _ in range(30):
        segments = [
            Segment("a", float(s), float(s + d), "x")
            for s, d in random.integers(1, 30, (4, 2))
        ]
        index = make_index(segments, {"a": 60.0})
        footage = describe_footage(index, [], Timing(2.0, 3.0, 1.0), rule=rule)
        assert footage.num_disjoint == most_windows(segments, rule)


def most_windows(segments, rule):
    """Observed 3 s, then 2 s, then a future of 1 s, in 60 s."""

    def allowed(start):
        free = {"gaps": start, "future_in_gap": start + 5}.get(rule)
        return free is None or not any(
            s.start_s < start + 6 and free < s.end_s for s in segments
        )

    best = [0] * 61
    for end in range(1, 61):
        best[end] = best[end - 1]
        if end >= 6 and allowed(end - 6):
            best[end] = max(best[end], best[end - 6] + 1)
    return best[60]


def many_actions():
    random = np.random.default_rng(0)
    segments = [
        Segment("abv"[i % 3], s, s + d, "xy"[i % 2], uid=f"u{i}")
        for i, (s, d) in enumerate(random.uniform((0, 0.3), (55, 3), (60, 2)))
    ]
    return make_index(segments, {"a": 60.0, "b": 61.7, "v": 60.0}, val="v")


def test_footage_by_hand(kitchen):
    footage = describe_footage(kitchen, [], Timing(1.0, 1.0, 1.0))
    assert footage.video_hours == 30 / 3600
    assert footage.gap_hours == pytest.approx(22 / 3600)
    assert (footage.num_gaps, footage.median_gap_s) == (3, 4.0)
    assert "in 3 gaps between labeled segments (median 4.00 s)" in str(footage)
    alone = describe_footage(kitchen, [], Timing(observed_fraction=0.2))
    assert alone.num_disjoint == 0


def test_choosing_windows_leaves_the_gaps_of_a_recording_as_they_are():
    times_s = [*np.arange(50) / 10, *(10 + np.arange(200) / 10)]
    index = make_index(
        [Segment("a", 12.0, 14.0, "wash")], {"a": 30.0}, times_s={"a": times_s}
    )
    for _ in range(2):
        pairs = unlabeled_pairs(index, Timing(1.0, 1.0, future_s=1.0), rule="gaps")
        assert index.blanks_s("a") == ((pytest.approx(5.0), 10.0),)
    assert not any(5.0 < pair.future.end_s - 1e-6 <= 10.0 for pair in pairs)


def test_a_picture_that_starts_late_costs_no_segment():
    late = {"a": 0.5 + np.arange(200) / 10}
    segments = [Segment("a", 1.0, 3.0, None), Segment("a", 5.0, 8.0, "x")]
    index = make_index(segments, {"a": 20.5}, times_s=late)
    (pair,) = unlabeled_pairs(index, Timing(0.0, 1.0), rule=None)
    assert (pair.observed.start_s, pair.observed.end_s) == (0.0, 1.0)
    (pair,) = unlabeled_pairs(index, Timing(observed_fraction=0.2), rule=None)
    assert pair.observed.end_s == pytest.approx(1.4)


def test_a_segment_that_reaches_into_a_hole_gives_no_pair():
    times_s = [*np.arange(50) / 10, *(10 + np.arange(200) / 10)]
    segments = [
        Segment("a", 4.0, 6.0, None),
        Segment("a", 12.0, 14.0, None),
        Segment("a", 20.0, 25.0, "x"),
    ]
    index = make_index(segments, {"a": 30.0}, times_s={"a": times_s})
    (pair,) = unlabeled_pairs(index, Timing(0.0, 1.0), rule=None)
    assert pair.future.start_s == 12.0


def test_both_clips_of_a_pair_by_fraction_share_nothing_with_another():
    segments = [Segment("a", 2.0, 4.0, None), Segment("a", 6.0, 9.0, "x")]
    segments += [Segment("a", s, s + 2.0, None) for s in (10.0, 12.0, 13.0)]
    index = make_index(segments, {"a": 20.0}, times_s={"a": np.arange(200) / 10})
    timing = Timing(observed_fraction=0.2)
    pairs = unlabeled_pairs(index, timing, rule=None)
    assert len(pairs) == 4
    # Of the three that follow each other, the last two overlap.
    assert describe_footage(index, pairs, timing, rule=None).num_sharing == 2
