"""Pairs against intervals worked out by hand, and the laws of their choice."""

import collections
import csv
import fractions
import math
import pathlib
import statistics

import numpy as np
import pytest

from kd_keras.data.pairs import (
    labeled_pairs,
    summarise,
    unlabeled_pairs,
    withhold_labels,
)
from kd_keras.data.segments import Clip, Index, Pair, Segment, Video
from kd_keras.data.video import VideoInfo

CEILING = (
    pathlib.Path(__file__).parents[2] / "shared/data/videos/ceiling_actions"
).resolve()
needs_ceiling = pytest.mark.skipif(
    not CEILING.is_dir(), reason=f"{CEILING} is not there"
)


def make_index(segments, durations_s, val=(), times_s=()):
    return Index(
        classes=tuple(sorted({s.label for s in segments if s.label is not None})),
        videos={
            name: Video(name, pathlib.Path(name), "val" if name in val else "train")
            for name in durations_s
        },
        durations_s=dict(durations_s),
        segments=tuple(segments),
        bad_videos={},
        infos={
            name: VideoInfo(np.array(times), durations_s[name], height=4, width=4)
            for name, times in dict(times_s).items()
        },
    )


@pytest.fixture
def kitchen():
    """One training video of 30 s, one of validation."""
    return make_index(
        [
            Segment("a", 4.0, 6.0, "wash"),
            Segment("a", 10.0, 14.0, "cut"),
            Segment("a", 13.0, 16.0, "wash"),
            Segment("a", 20.0, 22.0, None),
            Segment("v", 5.0, 6.0, "cut"),
        ],
        {"a": 30.0, "v": 60.0},
        val=["v"],
    )


def spans(pairs):
    return [
        (p.observed.start_s, p.observed.end_s, p.future.start_s, p.future.end_s)
        for p in pairs
    ]


def test_labeled_pairs_by_hand(kitchen):
    pairs = labeled_pairs(kitchen, "train", lead_time_s=1.0, observed_s=2.0)
    assert pairs == [
        Pair(Clip("a", 1.0, 3.0), Clip("a", 4.0, 6.0), 1),
        Pair(Clip("a", 7.0, 9.0), Clip("a", 10.0, 14.0), 0),
        Pair(Clip("a", 10.0, 12.0), Clip("a", 13.0, 16.0), 1),
    ]
    assert labeled_pairs(kitchen, "val", 0.5, 1.5) == [
        Pair(Clip("v", 3.0, 4.5), Clip("v", 5.0, 6.0), 0)
    ]
    assert labeled_pairs(kitchen, "test", 0.5, 1.5) == []


def test_future_of_a_length_may_pass_the_segment_but_not_the_video():
    index = make_index(
        [Segment("a", 4.0, 5.0, "x"), Segment("a", 7.0, 9.0, "x")], {"a": 9.5}
    )
    pairs = labeled_pairs(index, "train", 1.0, 1.0, future_s=3.0)
    assert spans(pairs) == [(2.0, 3.0, 4.0, 7.0), (5.0, 6.0, 7.0, 9.5)]


def test_early_segments_are_kept_padded_and_counted():
    starts_s = [0.0, 1.0, 1.5, 3.0, 4.0]
    index = make_index([Segment("a", s, s + 1, "x") for s in starts_s], {"a": 9.0})
    pairs = labeled_pairs(index, "train", lead_time_s=1.0, observed_s=2.0)
    assert spans(pairs) == [
        (-3.0, -1.0, 0.0, 1.0),
        (-2.0, 0.0, 1.0, 2.0),
        (-1.5, 0.5, 1.5, 2.5),
        (0.0, 2.0, 3.0, 4.0),
        (1.0, 3.0, 4.0, 5.0),
    ]
    summary = summarise(pairs)
    assert (summary.num_pairs, summary.num_padded, summary.num_unseen) == (5, 3, 2)


def test_rounding_is_not_padding():
    # 1.2 - 1 - 0.2 is -5.6e-17 in floats.
    index = make_index([Segment("a", 1.2, 2.0, "x")], {"a": 9.0})
    assert summarise(labeled_pairs(index, "train", 1.0, 0.2)).num_padded == 0


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
        (pair,) = labeled_pairs(index, "train", observed_fraction=float(fraction))
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
        (pair,) = labeled_pairs(index, "train", observed_fraction=0.2)
        assert pair.observed == Clip("a", 0.0, num_observed / 25)


def test_fraction_of_a_segment_within_a_video():
    times_s = {"a": np.round(np.arange(120) / 12, 3)}  # as Matroska rounds them
    index = make_index([Segment("a", 2.0, 3.0, "x")], {"a": 10.0}, times_s=times_s)
    # 12 frames; a quarter is 3, which last 0.25 s.
    (pair,) = labeled_pairs(index, "train", 1.0, 2.0, observed_fraction=0.25)
    assert pair == Pair(Clip("a", 2.0, 2.25), Clip("a", 2.0, 3.0), 0)


def test_fraction_of_unevenly_spaced_frames():
    times_s = {"a": [0.0, 0.1, 0.5, 0.9, 1.0, 1.9]}
    index = make_index([Segment("a", 0.0, 2.0, "x")], {"a": 2.0}, times_s=times_s)
    (pair,) = labeled_pairs(index, "train", observed_fraction=0.5)
    assert pair.observed == Clip("a", 0.0, 0.9)


def test_fraction_needs_the_frames():
    index = make_index([Segment("a", 2.0, 3.0, "x")], {"a": 10.0})
    with pytest.raises(ValueError, match=r"Fill Index.infos"):
        labeled_pairs(index, "train", observed_fraction=0.2)


def test_unlabeled_pairs_by_hand(kitchen):
    # Gaps: [0, 4), [6, 10), [16, 30). The median action lasts 3 s (2, 4, 3). The first
    # gap has room for no window, as an observed clip takes its first 3 s.
    pairs = unlabeled_pairs(kitchen, lead_time_s=1.0, observed_s=2.0)
    assert spans(pairs) == [
        (17.0, 19.0, 20.0, 22.0),  # the segment without a label
        (3.0, 5.0, 6.0, 9.0),
        (13.0, 15.0, 16.0, 19.0),
        (16.0, 18.0, 19.0, 22.0),
        (19.0, 21.0, 22.0, 25.0),
        (22.0, 24.0, 25.0, 28.0),
    ]
    assert {pair.label for pair in pairs} == {None}
    assert unlabeled_pairs(kitchen, 1.0, 2.0, gaps=False) == pairs[:1]


def test_observed_clips_can_be_kept_inside_the_gap(kitchen):
    pairs = unlabeled_pairs(kitchen, 1.0, 1.0, future_s=2.0, observed_in_gap=True)
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


def test_a_stride_lets_windows_overlap(kitchen):
    pairs = unlabeled_pairs(kitchen, 1.0, 2.0, future_s=3.0, stride_s=0.5)
    starts_s = [pair.future.start_s for pair in pairs[1:]]
    assert starts_s[:4] == [6.0, 6.5, 7.0, 16.0]
    assert starts_s[-1] == 27.0


def test_windows_tile_a_gap_in_spite_of_rounding():
    index = make_index([Segment("a", 5.0, 5.1, "x")], {"a": 5.7})
    pairs = unlabeled_pairs(index, 0.0, 1.0, future_s=0.1)
    after = [pair.future for pair in pairs if pair.future.start_s > 5]
    assert len(after) == 6
    assert after[-1].end_s <= 5.7


def test_long_unlabeled_footage_gives_windows_only():
    index = make_index(
        [Segment("a", 1.0, 3.0, "x"), Segment("b", 0.0, 10.0, None)],
        {"a": 3.0, "b": 10.0},
    )
    pairs = unlabeled_pairs(index, 1.0, 1.0)
    assert spans(pairs) == [(s - 2, s - 1, s, s + 2) for s in (2.0, 4.0, 6.0, 8.0)]


def test_validation_footage_is_never_used(kitchen):
    pairs = unlabeled_pairs(withhold_labels(kitchen, 0.1), 1.0, 2.0, stride_s=0.1)
    assert {clip.video for p in pairs for clip in (p.observed, p.future)} == {"a"}


def test_by_fraction_only_segments_are_used():
    frames = {"a": 15, "b": 20, "c": 30, "d": 40}
    index = make_index(
        [Segment(name, 0.0, n / 25, "x") for name, n in frames.items()],
        {name: n / 25 for name, n in frames.items()},
        times_s={name: np.arange(n) / 25 for name, n in frames.items()},
    )
    whole = labeled_pairs(index, "train", observed_fraction=0.2)
    half = withhold_labels(index, 0.5)
    labeled = labeled_pairs(half, "train", observed_fraction=0.2)
    unlabeled = unlabeled_pairs(half, observed_fraction=0.2)
    assert len(labeled) == len(unlabeled) == 2
    assert sorted(spans(labeled + unlabeled)) == sorted(spans(whole))


def test_a_draw_is_repeatable_nested_and_bounded(kitchen):
    def draw(count, seed=0):
        return unlabeled_pairs(
            kitchen, 1.0, 2.0, 1.0, stride_s=0.25, count=count, seed=seed
        )

    candidates = draw(None)
    assert draw(9) == draw(9)
    assert draw(9) != draw(9, seed=1)
    assert len(set(draw(9))) == 9
    assert set(draw(5)) < set(draw(9)) < set(candidates)
    assert draw(0) == []
    assert draw(len(candidates)) == candidates
    with pytest.raises(ValueError, match=f"count=999 .* there are {len(candidates)}"):
        draw(999)


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
        ({"stride_s": 0.0}, "stride_s must be above 0"),
        ({"count": -1}, "count must be at least 0"),
    ],
)
def test_wrong_arguments(kitchen, kwargs, message):
    kwargs = {"lead_time_s": 1.0, "observed_s": 1.0, **kwargs}
    with pytest.raises(ValueError, match=message):
        unlabeled_pairs(kitchen, **kwargs)


def test_wrong_part(kitchen):
    with pytest.raises(ValueError, match=r"train, val, test. Got 'training'"):
        labeled_pairs(kitchen, "training", 1.0, 1.0)


def test_gaps_need_a_length(kitchen):
    index = make_index([Segment("a", 4.0, 6.0, None)], {"a": 9.0})
    with pytest.raises(ValueError, match=r"Give future_s in seconds"):
        unlabeled_pairs(index, 1.0, 1.0)
    assert unlabeled_pairs(index, 1.0, 1.0, future_s=1.0)


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
    summary = summarise(pairs)
    assert (summary.num_labeled, summary.num_unlabeled) == (2, 1)
    assert summary.num_videos == 2
    assert summary.footage_hours == pytest.approx((5 + 2) / 3600)
    assert "3 pairs (2 labeled, 1 unlabeled)" in str(summary)
    assert "1 observed clips are padded" in str(summary)
    assert summarise([]).footage_hours == 0


@pytest.fixture(scope="module")
def ceiling():
    with (CEILING / "videos.csv").open(newline="") as file:
        videos = {row["video"]: row for row in csv.DictReader(file)}
    with (CEILING / "annotations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return make_index(
        [
            Segment(r["video"], float(r["start"]), float(r["end"]), r["label"])
            for r in rows
        ],
        {name: float(row["duration"]) for name, row in videos.items()},
        val=[name for name, row in videos.items() if row["split"] == "val"],
    )


@needs_ceiling
def test_real_annotations(ceiling):
    train = labeled_pairs(ceiling, "train", 1.0, 2.0)
    assert (len(train), len(labeled_pairs(ceiling, "val", 1.0, 2.0))) == (197, 91)
    # First row: 4.181, 7.389, walk; class 8 of the nine in alphabetical order.
    first = train[0]
    assert (first.observed.start_s, first.observed.end_s) == pytest.approx(
        (1.181, 3.181)
    )
    assert (first.future.start_s, first.future.end_s, first.label) == (4.181, 7.389, 8)
    assert summarise(train).num_padded == 7


@needs_ceiling
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_real_annotations_half_labeled(ceiling, fraction):
    index = withhold_labels(ceiling, fraction, seed=1)
    labeled = labeled_pairs(index, "train", 1.0, 2.0)
    withheld = unlabeled_pairs(index, 1.0, 2.0, gaps=False)
    assert len(labeled) == math.floor(fraction * 197 + 0.5)
    whole = labeled_pairs(ceiling, "train", 1.0, 2.0)
    assert sorted(spans(labeled + withheld)) == sorted(spans(whole))
    median_s = statistics.median(p.future.end_s - p.future.start_s for p in whole)
    windows = unlabeled_pairs(index, 1.0, 2.0)[len(withheld) :]
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
