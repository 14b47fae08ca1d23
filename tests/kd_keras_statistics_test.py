"""Intervals and calibration against exact distributions, closed forms and loops."""

import itertools
import math

import numpy as np
import pytest

from kd_keras import statistics


def _binomial_quantile(n, p, level):
    total = 0.0
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        if total >= level:
            return k / n
    return 1.0


@pytest.mark.parametrize("hits, n", [(32, 40), (3, 60)])
def test_the_interval_of_an_accuracy_is_that_of_the_binomial_distribution(hits, n):
    found = statistics.mean_interval([1] * hits + [0] * (n - hits), resamples=40_000)
    assert found.mean == hits / n
    # A draw in 40,000 may move a bound by one clip.
    for bound, level in ((found.low, 0.025), (found.high, 0.975)):
        assert abs(bound - _binomial_quantile(n, hits / n, level)) <= 1 / n + 1e-12


def test_copies_of_clips_in_one_video_are_no_new_evidence():
    hits = np.random.default_rng(0).integers(0, 2, 50)
    alone = statistics.mean_interval(hits)
    videos = np.repeat(np.arange(50), 4)
    copied = statistics.mean_interval(np.repeat(hits, 4), videos)
    as_clips = statistics.mean_interval(np.repeat(hits, 4))
    assert copied == alone
    assert as_clips.high - as_clips.low < 0.6 * (alone.high - alone.low)


def test_unequal_videos_by_loops():
    values, videos = np.arange(9.0), np.array(list("aabbbbccc"))
    rng = np.random.default_rng(1)
    means = []
    for _ in range(20_000):
        drawn = rng.choice(["a", "b", "c"], 3)
        means.append(np.concatenate([values[videos == v] for v in drawn]).mean())
    found = statistics.mean_interval(values, videos, level=0.5, resamples=20_000)
    np.testing.assert_allclose(
        (found.low, found.high), np.quantile(means, (0.25, 0.75)), atol=0.15
    )


def test_runs_are_drawn_with_the_clips():
    # The variance of the mean is that over runs: every clip of a run is the same.
    runs = np.array([0.0, 1.0, 2.0, 3.0])
    found = statistics.mean_interval(np.repeat(runs[:, None], 500, axis=1))
    means = [np.mean([runs[i] for i in d]) for d in np.ndindex(4, 4, 4, 4)]
    low, high = np.quantile(means, (0.025, 0.975))
    assert (found.low, found.high) == (low, high)
    same = statistics.mean_interval(np.tile([1, 0, 0, 1, 1], (3, 1)))
    assert same == statistics.mean_interval([1, 0, 0, 1, 1])


def test_equal_networks_differ_by_nothing():
    hits = np.random.default_rng(0).integers(0, 2, 30)
    found = statistics.mean_interval(hits - hits)
    assert (found.mean, found.low, found.high) == (0, 0, 0) and not found.excludes_zero
    assert statistics.mean_interval(hits + 1.0).excludes_zero


def test_means_of_the_same_draws_are_subtracted_in_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, (2, 3, 40))
    videos = np.arange(40) // 4
    found = statistics.bootstrap_mean(first, videos)
    found = (found - statistics.bootstrap_mean(second, videos)).interval(0.9)
    expected = statistics.mean_interval(first - second, videos, level=0.9)
    for name in ("mean", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))


def test_a_single_group_has_no_interval():
    """Its draws are all the same, which would pass for certainty."""
    hits = np.tile([1.0, 1.0, 0.0], (2, 1))
    for values, groups in ((hits, ["v"] * 3), (hits[:, :1], None)):
        found = statistics.mean_interval(values, groups)
        assert found.mean == pytest.approx(values.mean())
        assert math.isnan(found.low) and math.isnan(found.high)
        assert not found.is_known and not found.excludes_zero
    first, second = (statistics.bootstrap_mean(hits + n, ["v"] * 3) for n in (1, 0))
    assert not (first - second).interval().is_known
    gains = statistics.class_gains([0, 0, 1], [1, 1, 1], [0, 0, 1], ["v", "v", "w"])
    assert gains[0].mean == 1 and not gains[0].excludes_zero


@pytest.mark.parametrize("groups, documented", [(5, 0.83), (20, 0.93)])
def test_an_interval_of_few_groups_is_as_narrow_as_documented(groups, documented):
    draws = np.random.default_rng(0).normal(size=(2000, groups))
    found = [statistics.mean_interval(row, resamples=500) for row in draws]
    held = np.mean([each.low <= 0 <= each.high for each in found])
    # Three standard errors of a fraction of 2000.
    assert abs(held - documented) < 3 * math.sqrt(documented * (1 - documented) / 2000)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"groups": None}, {"resamples": 99}])
def test_means_of_other_draws_are_not_subtracted(changed):
    values = np.arange(6.0)
    given = {"groups": list("aabbcc"), "resamples": 100}
    mean = statistics.bootstrap_mean(values, **given)
    with pytest.raises(ValueError, match="the same clips, groups, .* draws"):
        mean - statistics.bootstrap_mean(values, **given | changed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": 0}, "`resamples` must be at least 1. Got 0"),
        ({"seed": np.random.default_rng(0)}, "`seed` must be a number or None"),
    ],
)
def test_what_draws_nothing_or_never_the_same_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        statistics.bootstrap_mean([1.0, 0.0], **options)


def test_draws_without_a_seed_are_not_subtracted():
    first, second = (statistics.bootstrap_mean([1, 0, 1], seed=None) for _ in range(2))
    assert not np.array_equal(first.resampled, second.resampled)
    with pytest.raises(ValueError, match="the same seed"):
        first - second


@pytest.mark.parametrize(
    "values, groups, message",
    [
        ([], None, "at least one"),
        ([1.0, np.nan], None, "finite"),
        ([1, 0], ["a"], "each of 2 clips"),
    ],
)
def test_values_that_have_no_interval_are_refused(values, groups, message):
    with pytest.raises(ValueError, match=message):
        statistics.mean_interval(values, groups)


def _logits(seed, examples=400, classes=5, scale=3.0):
    """Logits that are `scale` times those that the labels were drawn by."""
    rng = np.random.default_rng(seed)
    right = rng.normal(size=(examples, classes)) * 2
    chances = statistics.softmax(right)
    labels = [rng.choice(classes, p=row) for row in chances]
    return np.array(labels), scale * right


def test_calibration_error_by_loops():
    labels, logits = _logits(0)
    chances = statistics.softmax(logits)
    gap, edges = 0.0, [i / 10 for i in range(11)]
    for low, high in itertools.pairwise(edges):
        inside = [i for i, row in enumerate(chances) if low < max(row) <= high]
        if inside:
            confidence = sum(max(chances[i]) for i in inside) / len(inside)
            accuracy = sum(chances[i].argmax() == labels[i] for i in inside)
            accuracy /= len(inside)
            gap += len(inside) / len(labels) * abs(confidence - accuracy)
    found = statistics.expected_calibration_error(labels, chances, bins=10)
    assert found == pytest.approx(gap, abs=1e-12) and gap > 0.1


def test_confidence_of_one_is_in_the_last_bin():
    bins = statistics.reliability([0, 1], [[1.0, 0.0], [1.0 + 1e-12, 0.0]], bins=3)
    assert [b.count for b in bins] == [0, 0, 2]
    assert bins[-1].accuracy == 0.5


def _likelihood(labels, logits, temperature):
    chances = statistics.softmax(logits, temperature)
    return np.mean(np.log(chances[np.arange(len(labels)), labels]))


def test_temperature_is_the_best_of_a_grid():
    labels, logits = _logits(1)
    grid = np.exp(np.linspace(math.log(0.5), math.log(10), 2000))
    best = max(grid, key=lambda t: _likelihood(labels, logits, t))
    assert statistics.fit_temperature(labels, logits) == pytest.approx(best, rel=2e-3)
    assert best == pytest.approx(3.0, rel=0.2)


@pytest.mark.parametrize(
    "labels, logits, expected",
    [
        # Right with a chance of 9 in 10: the two logits are to differ by log 9.
        ([0] * 9 + [1], [[5.0, 0.0]] * 10, 5 / math.log(9)),
        ([0, 1], [[1.0, 0.0], [0.0, 1.0]], 0.01),
        ([1, 0], [[1.0, 0.0], [0.0, 1.0]], 100.0),
        ([1, 0], [[7.0, 7.0], [0.0, 0.0]], 1.0),
        # A class that cannot be changes nothing, nor does an example of it.
        ([0] * 9 + [1], [[5.0, 0.0, -math.inf]] * 10, 5 / math.log(9)),
        ([0] * 9 + [1, 2], [[5.0, 0.0, -math.inf]] * 11, 5 / math.log(9)),
        ([1, 0], [[7.0, 7.0, -math.inf], [0.0, 0.0, -math.inf]], 1.0),
        ([1], [[0.0, -math.inf]], 1.0),
    ],
)
def test_temperature_in_closed_form(labels, logits, expected):
    assert statistics.fit_temperature(labels, logits) == pytest.approx(expected)


@pytest.mark.parametrize(
    "labels, logits, message",
    [
        ([], np.empty((0, 2)), "at least one example"),
        ([0, 0], [[1.0, math.nan], [1.0, 0.0]], "Got 1 examples with NaN"),
        ([0], [[math.inf, 0.0]], "Got 1 examples with NaN, inf"),
        ([0], [[-math.inf, -math.inf]], "-inf alone"),
    ],
)
def test_no_temperature_fits_logits_that_are_no_numbers(labels, logits, message):
    with pytest.raises(ValueError, match=message):
        statistics.fit_temperature(labels, logits)


def test_cross_fitted_temperatures_see_none_of_their_own_videos():
    labels, logits = _logits(2)
    videos = np.arange(len(labels)) // 4
    scaled, temperatures = statistics.cross_fitted(labels, logits, videos)
    assert len(temperatures) == 5
    before = statistics.expected_calibration_error(labels, statistics.softmax(logits))
    after = statistics.expected_calibration_error(labels, scaled)
    assert after < before / 2
    np.testing.assert_array_equal(scaled.argmax(1), logits.argmax(1))
    # Other labels in one video change the temperature of every fold but its own.
    changed = labels.copy()
    changed[videos == 7] = (changed[videos == 7] + 1) % 5
    _, others = statistics.cross_fitted(changed, logits, videos)
    assert sum(a == b for a, b in zip(temperatures, others, strict=True)) == 1


def test_one_video_has_no_other_to_fit_on():
    labels, logits = _logits(3)
    scaled, temperatures = statistics.cross_fitted(labels, logits, ["v"] * len(labels))
    assert temperatures == [1.0]
    np.testing.assert_array_equal(scaled, statistics.softmax(logits))


def test_clips_of_nan_change_no_temperature():
    labels, logits = _logits(2)
    videos = np.arange(len(labels)) // 4
    expected, temperatures = statistics.cross_fitted(labels, logits, videos)
    more = np.concatenate([logits, np.full_like(logits[:4], np.nan)])
    found, others = statistics.cross_fitted(
        np.append(labels, labels[:4]), more, np.append(videos, [0] * 4)
    )
    assert others == temperatures
    np.testing.assert_array_equal(found[: len(labels)], expected)
    assert np.isnan(found[len(labels) :]).all()
    nothing, ones = statistics.cross_fitted(labels, np.nan * logits, videos)
    assert set(ones) == {1.0} and np.isnan(nothing).all()


def test_cross_fitted_losses_do_not_depend_on_the_scale_of_logits():
    labels, logits = _logits(2)
    videos = np.arange(len(labels)) // 4
    found = statistics.cross_fitted_losses(labels, logits, videos)
    scaled, _ = statistics.cross_fitted(labels, logits, videos)
    expected = [-math.log(p[label]) for p, label in zip(scaled, labels, strict=True)]
    np.testing.assert_allclose(found, expected)
    others = statistics.cross_fitted_losses(labels, 2 * logits, videos)
    np.testing.assert_allclose(found, others, rtol=1e-6)


def test_cross_fitted_losses_are_finite_if_the_other_videos_are_all_right():
    labels, logits = [0] * 7 + [1], np.full((8, 1), 30.0) * [1, 0]
    found = statistics.cross_fitted_losses(labels, logits, [0] * 4 + [1] * 4)
    assert np.isfinite(found).all() and found[-1] > 100


def test_gains_by_class_are_differences_of_recall():
    rng = np.random.default_rng(4)
    labels, before, after = rng.integers(0, 4, (3, 80))
    labels[labels == 2] = 1
    gains = statistics.class_gains(labels, before, after)
    assert [*gains] == [0, 1, 3]
    for label, gain in gains.items():
        own = labels == label
        recalls = [np.mean(predicted[own] == label) for predicted in (before, after)]
        assert gain.mean == pytest.approx(recalls[1] - recalls[0])
        assert gain.low <= gain.mean <= gain.high


def test_quality_of_pseudo_labels_by_hand():
    chances = [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]]
    quality = statistics.pseudo_label_quality([0, 1, 1, 1], chances, (0.0, 0.75, 0.95))
    assert quality["accuracy"] == 0.75 and quality["confidence"] == pytest.approx(0.75)
    assert [(row["fraction"], row["accuracy"]) for row in quality["by_confidence"]] == [
        (1.0, 0.75),
        (0.5, 1.0),
        (0.0, None),
    ]
    first, second, third = quality["by_class"]
    assert (first["precision"], first["recall"]) == (0.5, 1.0)
    assert (second["precision"], second["recall"]) == (1.0, pytest.approx(2 / 3))
    assert (third["precision"], third["recall"]) == (None, None)
    assert (second["num_clips"], second["num_pseudo_labels"]) == (3, 2)
