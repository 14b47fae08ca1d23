"""Videos held out of training: whole, seeded, and never the last of a class."""

import dataclasses

import pytest

from kd_keras.data.holdout import hold_out
from kd_keras.data.pairs import Timing, labeled_pairs, withhold_labels
from kd_keras.data.segments import Segment
from kd_keras.data.unlabeled import unlabeled_pairs
from tests.indexes import make_index

NAMES = [f"v{number:02}" for number in range(20)]


def index_of(labels):
    """One label of each video, None for a video without."""
    segments = [
        Segment(name, start_s, start_s + 1, label)
        for name, label in zip(NAMES, labels, strict=False)
        for start_s in (10.0, 20.0)
    ]
    return make_index(segments, dict.fromkeys(NAMES[: len(labels)], 30.0), val=["v00"])


def held_out(index, fraction, seed=0):
    found = hold_out(index, fraction, seed).videos
    return {name for name, video in found.items() if video.part == "held_out"}


INDEX = index_of("ab" * 10)


def test_the_fraction_is_of_training_videos_with_labels():
    # 19 of them train; halves are rounded up.
    for fraction, number in ((0.1, 2), (0.2, 4), (0.5, 10), (0.01, 1), (0.89, 17)):
        assert len(held_out(INDEX, fraction)) == number
    some = index_of(["a", None, "a", "b", "b", None, "b", "b", "a", "a"])
    assert not held_out(some, 0.5) & {"v00", "v01", "v05"}
    assert len(held_out(some, 0.5)) == 4


def test_a_seed_draws_the_same_and_larger_fractions_hold_the_smaller():
    assert held_out(INDEX, 0.4) == held_out(INDEX, 0.4)
    assert held_out(INDEX, 0.2) < held_out(INDEX, 0.4)
    assert held_out(INDEX, 0.4, seed=1) != held_out(INDEX, 0.4)
    turned = dataclasses.replace(
        INDEX,
        segments=INDEX.segments[::-1],
        videos=dict(reversed(INDEX.videos.items())),
    )
    assert held_out(turned, 0.4) == held_out(INDEX, 0.4)


@pytest.mark.parametrize("seed", range(20))
def test_every_class_keeps_a_training_video(seed):
    index = hold_out(index_of("aabbbbbbbbbcbbd"), 0.9, seed)
    trained = {s.label for s in index.segments if index.videos[s.video].part == "train"}
    assert trained >= {"a", "b", "c", "d"}


@pytest.mark.parametrize("seed", range(20))
def test_a_group_is_held_out_as_a_whole(seed):
    """Four recordings of four clips each, and three clips of their own."""
    group_of = {name: f"g{number // 4}" for number, name in enumerate(NAMES[1:17])}
    videos = {
        name: dataclasses.replace(video, group=group_of.get(name))
        for name, video in INDEX.videos.items()
    }
    index = dataclasses.replace(INDEX, videos=videos)
    found = held_out(index, 0.2, seed)
    groups = {group_of.get(name, name) for name in found}
    assert found == {n for n in NAMES[1:] if group_of.get(n, n) in groups}
    # Four of 19 are wanted. The last group may bring three more.
    assert 4 <= len(found) <= 7
    assert found <= held_out(index, 0.5, seed)


def test_a_group_with_the_last_example_of_a_class_stays():
    index = index_of("aaabbb")
    videos = index.videos | {
        name: dataclasses.replace(index.videos[name], group="b only")
        for name in ("v03", "v04", "v05")
    }
    index = dataclasses.replace(index, videos=videos)
    for seed in range(10):
        assert held_out(index, 0.9, seed) in ({"v01"}, {"v02"})


def test_what_is_held_out_trains_nothing():
    index = hold_out(INDEX, 0.5)
    timing = Timing(lead_time_s=1.0, observed_s=2.0)
    kept = {name for name, video in index.videos.items() if video.part == "held_out"}
    assert len(kept) == 10
    assert {p.future.video for p in labeled_pairs(index, "held_out", timing)} == kept
    assert len(labeled_pairs(index, "held_out", timing)) == 20
    trains = [
        *labeled_pairs(index, "train", timing),
        *unlabeled_pairs(index, timing, rule="anywhere"),
    ]
    assert trains and not kept & {pair.future.video for pair in trains}
    # Labels are withheld from training alone.
    few = withhold_labels(index, 0.2)
    assert len(labeled_pairs(few, "held_out", timing)) == 20


def test_what_cannot_be_held_out_is_refused():
    with pytest.raises(ValueError, match="None of the 3 training videos"):
        hold_out(index_of("aabc"), 0.3)
    for fraction in (0, 1, -0.1, float("nan")):
        with pytest.raises(ValueError, match="holdout must be between 0 and 1"):
            hold_out(INDEX, fraction)


@pytest.mark.parametrize("seed", range(5))
def test_unlabeled_videos_of_a_group_are_held_out_with_it(seed):
    index = index_of(["a", *["a", "b", None, None] * 4])
    videos = {
        name: dataclasses.replace(video, group=f"g{number % 4 // 2}{number // 8}")
        for number, (name, video) in enumerate(index.videos.items(), start=-1)
        if number >= 0
    }
    index = dataclasses.replace(index, videos=index.videos | videos)
    found = hold_out(index, 0.3, seed)
    parts = {}
    for video in found.videos.values():
        if video.group is not None:
            parts.setdefault(video.group, set()).add(video.part)
    assert sorted(map(tuple, parts.values())).count(("held_out",)) >= 1
    assert all(len(own) == 1 for own in parts.values())
    assert found.videos["v00"].part == "val"
