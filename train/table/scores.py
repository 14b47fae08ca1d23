"""The scores of a table: means over seeds and splits, with intervals."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np

from kd_keras import statistics
from kd_keras.metrics import log_losses
from train import predictions
from train.table.plan import Jobs, Row

# The logit of a class that a network does not know; finite, so that 0 times it is 0.
_NEVER = -1e6


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a row has more than another one, clip by clip.

    Attributes:
        top1: In points, with its 95 % bootstrap interval over seeds and videos, or
            groups of videos.
        scaled_loss: In nats, with its interval; below 0 the row is better.
    """

    top1: statistics.Interval
    scaled_loss: statistics.Interval


@dataclasses.dataclass(frozen=True)
class Score:
    """The scores of a row.

    Attributes:
        row: The `Row`.
        by_seed: Top-1 in percent of each seed, over the clips of all splits.
        mean: Over seeds and clips, in percent, with its 95 % bootstrap interval over
            seeds and videos, or groups of videos; without an interval for a reference.
        deviation: Standard deviation over the seeds, in points; None of one seed.
        loss: Mean of -log p(true class) over seeds and clips, in nats, with its
            interval; None for references.
        scaled_loss: The same after temperature scaling by `cross_fitted_losses`.
            It does not punish a network for its confidence alone.
        over: The `Difference` to each other row that has a network, by its title.
    """

    row: Row
    by_seed: tuple[float, ...]
    mean: statistics.Interval
    deviation: float | None = None
    loss: statistics.Interval | None = None
    scaled_loss: statistics.Interval | None = None
    over: Mapping[str, Difference] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Clips:
    """What a row said of each clip.

    Attributes:
        hits: 100 if it is right, else 0 (seeds, clips of all splits).
        losses: In nats (seeds, clips of all splits).
        scaled_losses: After temperature scaling.
        labels, videos, clusters: Of each clip.
    """

    hits: np.ndarray
    losses: np.ndarray
    scaled_losses: np.ndarray
    labels: np.ndarray
    videos: np.ndarray
    clusters: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Means:
    """What a row reached, with its bootstrap draws. All rows have the same draws."""

    top1: statistics.BootstrapMean
    loss: statistics.BootstrapMean
    scaled_loss: statistics.BootstrapMean


def scores(
    rows: Sequence[Row],
    streams: Sequence[Jobs],
    splits: Sequence[int],
    seeds: Sequence[int],
) -> list[Score]:
    """Returns the `Score` of each row from runs that are done.

    Args:
        rows: Of the table.
        streams: What `plan.jobs` returned; several, such as one of RGB and one of
            flow, are added up, logits to logits.
        splits, seeds: Of the table.
    Raises:
        ValueError: If rows evaluate different clips, or the same with other labels.
    """
    clips = {
        row: _clips(row, row.logits, streams, splits, seeds)
        for row in rows
        if row.logits is not None
    }
    _check_same_clips(clips)
    means = {row: _means(of_row) for row, of_row in clips.items()}
    found = []
    for row in rows:
        if row.logits is None:
            found.append(_reference(row, streams[0], splits, seeds))
            continue
        own, by_seed = means[row], tuple(clips[row].hits.mean(1))
        found.append(
            Score(
                row=row,
                by_seed=by_seed,
                mean=own.top1.interval(),
                deviation=_deviation(by_seed),
                loss=own.loss.interval(),
                scaled_loss=own.scaled_loss.interval(),
                over={
                    other.title: _difference(own, means[other])
                    for other in means
                    if other != row
                },
            )
        )
    return found


def _means(clips: _Clips) -> _Means:
    def mean(values: np.ndarray) -> statistics.BootstrapMean:
        return statistics.bootstrap_mean(values, clips.clusters)

    return _Means(mean(clips.hits), mean(clips.losses), mean(clips.scaled_losses))


def _difference(own: _Means, other: _Means) -> Difference:
    return Difference(
        top1=(own.top1 - other.top1).interval(),
        scaled_loss=(own.scaled_loss - other.scaled_loss).interval(),
    )


def _check_same_clips(clips: Mapping[Row, _Clips]) -> None:
    rows = list(clips)
    for row in rows[1:]:
        # The times may differ, as rows may have other lead times of the same actions.
        for what in ("videos", "labels"):
            if not np.array_equal(
                getattr(clips[row], what), getattr(clips[rows[0]], what)
            ):
                raise ValueError(
                    f"{row.title!r} and {rows[0].title!r} evaluate different clips, as "
                    f"the {what} of those differ: they cannot be compared clip by clip."
                )


def _clips(
    row: Row,
    name: str,
    streams: Sequence[Jobs],
    splits: Sequence[int],
    seeds: Sequence[int],
) -> _Clips:
    """Returns what a row said, from the file of every run."""
    all_logits, labels, videos, clusters = [], [], [], []
    for split in splits:
        by_seed = [
            [
                predictions.read(jobs[row.flags, split, seed].folder / predictions.FILE)
                for jobs in streams
            ]
            for seed in seeds
        ]
        first = by_seed[0][0]
        if not all(first.has_clips_of(run) for runs in by_seed for run in runs):
            raise ValueError(
                f"The runs of {row.title!r} on split {split} evaluate different clips."
            )
        all_logits.append(
            np.array([sum(run.logits[name] for run in runs) for runs in by_seed])
        )
        labels.append(first.labels)
        videos += [f"{split}: {video}" for video in first.videos]
        clusters.append(first.clusters)
    logits, truth = _side_by_side(all_logits), np.concatenate(labels)
    # A recording may be evaluated in several splits. It is one cluster of them all: the
    # bootstrap draws it as a whole, and no temperature is fitted on a part of it.
    groups = np.concatenate(clusters)
    return _Clips(
        hits=100.0 * (logits.argmax(-1) == truth),
        losses=np.array([log_losses(truth, of_seed) for of_seed in logits]),
        scaled_losses=np.array(
            [
                statistics.cross_fitted_losses(truth, of_seed, groups)
                for of_seed in logits
            ]
        ),
        labels=truth,
        videos=np.array(videos),
        clusters=groups,
    )


def _side_by_side(all_logits: Sequence[np.ndarray]) -> np.ndarray:
    """Joins logits (seeds, clips, classes). No network says a class that it lacks."""
    most = max(logits.shape[-1] for logits in all_logits)
    padded = [
        np.pad(
            logits,
            ((0, 0), (0, 0), (0, most - logits.shape[-1])),
            constant_values=_NEVER,
        )
        for logits in all_logits
    ]
    return np.concatenate(padded, 1)


def _reference(
    row: Row, jobs: Jobs, splits: Sequence[int], seeds: Sequence[int]
) -> Score:
    by_seed = []
    for seed in seeds:
        values, sizes = [], []
        for split in splits:
            folder = jobs[row.flags, split, seed].folder
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            if row.network not in results:
                raise ValueError(f"{folder} has no {row.network} in its results.")
            values.append(100 * results[row.network]["top1"])
            sizes.append(results["num_evaluated"])
        by_seed.append(float(np.average(values, weights=sizes)))
    mean = float(np.mean(by_seed))
    interval = statistics.Interval(mean, mean, mean)
    return Score(row, tuple(by_seed), interval)


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
