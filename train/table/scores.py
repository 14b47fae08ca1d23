"""The scores of a table: means over seeds and splits, with intervals."""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from kd_keras import statistics
from train import predictions
from train.table.plan import Jobs, Row


@dataclasses.dataclass(frozen=True)
class Score:
    """The scores of a row.

    Attributes:
        row: The `Row`.
        by_seed: Top-1 in percent of each seed, over the clips of all splits.
        mean: Over seeds and clips, in percent, with its 95 % bootstrap interval over
            seeds and videos, or groups of videos; without an interval for a reference.
        deviation: Standard deviation over the seeds, in points; None of one seed.
        gain: Paired difference to the baseline, in points, with its interval; None for
            the baseline itself and for references.
    """

    row: Row
    by_seed: tuple[float, ...]
    mean: statistics.Interval
    deviation: float | None
    gain: statistics.Interval | None


def scores(
    rows: Sequence[Row],
    streams: Sequence[Jobs],
    splits: Sequence[int],
    seeds: Sequence[int],
    baseline: Row | None,
) -> list[Score]:
    """Returns the `Score` of each row from runs that are done.

    Args:
        rows: Of the table.
        streams: What `plan.jobs` returned; several, such as one of RGB and one of
            flow, are added up, logits to logits.
        splits, seeds: Of the table.
        baseline: The row that others are compared with; None compares nothing.
    Raises:
        ValueError: If runs that are compared evaluate different clips.
    """
    hits = {
        row: _hits(row, row.logits, streams, splits, seeds)
        for row in rows
        if row.logits is not None
    }
    found = []
    for row in rows:
        if row.logits is None:
            found.append(_reference(row, streams[0], splits, seeds))
            continue
        own, videos, clusters = hits[row]
        gain = None
        if baseline is not None and row != baseline:
            others, other_videos, _ = hits[baseline]
            if not np.array_equal(videos, other_videos):
                raise ValueError(
                    f"{row.title!r} and {baseline.title!r} evaluate different clips: "
                    "they cannot be compared clip by clip."
                )
            gain = statistics.mean_interval(100 * (own - others), clusters)
        by_seed = tuple(100 * own.mean(1))
        found.append(
            Score(
                row,
                by_seed,
                statistics.mean_interval(100 * own, clusters),
                _deviation(by_seed),
                gain,
            )
        )
    return found


def _hits(
    row: Row,
    name: str,
    streams: Sequence[Jobs],
    splits: Sequence[int],
    seeds: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns hits (seeds, clips of all splits), and each clip's video and cluster."""
    by_split, videos, clusters = [], [], []
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
        logits = np.array([sum(run.logits[name] for run in runs) for runs in by_seed])
        by_split.append(logits.argmax(-1) == first.labels)
        videos += [f"{split}: {video}" for video in first.videos]
        clusters += [f"{split}: {cluster}" for cluster in first.clusters]
    hits = np.concatenate(by_split, 1).astype(np.float64)
    return hits, np.array(videos), np.array(clusters)


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
    return Score(row, tuple(by_seed), interval, None, None)


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
