"""The charts of a report's page, as SVG."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from kd_keras import lettering, statistics
from kd_keras.visualise import PALETTE

_BEFORE, _AFTER = PALETTE[4], PALETTE[0]


def reliability(
    by_title: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    path: pathlib.Path,
) -> None:
    """Draws reliability diagrams side by side, before and after temperature scaling.

    Args:
        by_title: By network, (labels, probabilities before, probabilities after).
        path: File to write.
    """
    # The legend is wider than the diagram of one network.
    size = max(3.2 * len(by_title), 4.4), 3.6
    with _figure(path, 1, len(by_title), size) as (figure, axes):
        for axis, (title, (labels, before, after)) in zip(
            axes[0], by_title.items(), strict=True
        ):
            axis.plot([0, 1], [0, 1], color="gray", linewidth=1, linestyle=":")
            for probabilities, color, marker in (
                (before, _BEFORE, "o"),
                (after, _AFTER, "s"),
            ):
                bins = statistics.reliability(labels, probabilities, bins=10)
                bins = [b for b in bins if b.count]
                axis.plot(
                    [b.confidence for b in bins],
                    [b.accuracy for b in bins],
                    color=color,
                    marker=marker,
                    markersize=4,
                )
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("confidence (probability)")
            axis.set_ylabel("accuracy (fraction of clips)")
            axis.set_xlim(0, 1.02)
            axis.set_ylim(-0.02, 1.02)
        handles = [
            plt.Line2D([], [], color=_BEFORE, marker="o", label="before"),
            plt.Line2D([], [], color=_AFTER, marker="s", label="after one temperature"),
            plt.Line2D([], [], color="gray", linestyle=":", label="calibrated"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)


def class_gains(
    gains: Mapping[int, statistics.Interval],
    counts: Mapping[int, int],
    classes: Sequence[str],
    path: pathlib.Path,
) -> None:
    """Draws the gain in recall of each class as a dot with its interval.

    Args:
        gains: `Interval` by class index.
        counts: Number of clips by class index.
        classes: Class names.
        path: File to write.
    """
    order = sorted(gains, key=lambda label: gains[label].mean)
    names = [
        f"{lettering.readable(classes[label])} ({counts[label]})" for label in order
    ]
    # A letter of a name is about 0.06 inches wide, and texts of axes need some room.
    width = max(7, 4.5 + 0.06 * max(map(len, names)))
    height = max(0.8 + 0.24 * len(order), 1.6)
    with _figure(path, 1, 1, (width, height)) as (_, axes):
        axis = axes[0, 0]
        axis.axvline(0, color="gray", linewidth=1)
        for place, label in enumerate(order):
            gain = gains[label]
            color = PALETTE[2] if gain.mean > 0 else PALETTE[4]
            axis.plot([100 * gain.low, 100 * gain.high], [place, place], color=color)
            axis.plot(100 * gain.mean, place, "o", color=color, markersize=5)
        family = lettering.families(classes)
        axis.set_yticks(range(len(order)), names, fontsize=7, family=family)
        axis.set_ylabel("class (clips)")
        axis.set_xlabel("gain in recall, points (95 % interval)")


def pseudo_labels(quality: Mapping[str, Any], path: pathlib.Path) -> None:
    """Draws accuracy and number of the pseudo-labels over the least confidence.

    Args:
        quality: What `pseudo_label_quality` returned.
        path: File to write.
    """
    found = quality["by_confidence"]
    with _figure(path, 1, 1, (5, 3.2)) as (figure, axes):
        axis = axes[0, 0]
        for key, color, style in (
            ("accuracy", PALETTE[0], "o-"),
            ("fraction", PALETTE[1], "s--"),
        ):
            points = [
                (row["at_least"], row[key]) for row in found if row[key] is not None
            ]
            axis.plot(*zip(*points, strict=True), style, color=color, label=key)
        # Zero and one have room for whole marks.
        axis.set_ylim(-0.03, 1.03)
        axis.set_xlabel("least confidence of the teacher (probability)")
        axis.set_ylabel("fraction of clips")
        labels = {"accuracy": "right among those", "fraction": "as confident"}
        for line in axis.lines:
            line.set_label(labels[line.get_label()])
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)


def over_time(
    curves: Mapping[str, Sequence[tuple[float, statistics.Interval]]],
    title: str,
    path: pathlib.Path,
) -> None:
    """Draws the top-1 of networks over a lead time or an observed fraction.

    Args:
        curves: By network, the value on the axis and the `Interval` in percent.
        title: Of the axis.
        path: File to write.
    """
    with _figure(path, 1, 1, (6, 4)) as (figure, axes):
        axis = axes[0, 0]
        for place, (name, points) in enumerate(curves.items()):
            color = PALETTE[place % len(PALETTE)]
            at = [value for value, _ in points]
            axis.plot(at, [p.mean for _, p in points], "o-", color=color, label=name)
            low, high = [p.low for _, p in points], [p.high for _, p in points]
            axis.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
        axis.set_xlabel(title)
        axis.set_ylabel("top-1 in percent, with 95 % intervals")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)


def counts_of(labels: np.ndarray) -> dict[int, int]:
    """Returns the number of clips by class index."""
    found, counts = np.unique(labels, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


@contextlib.contextmanager
def _figure(
    path: pathlib.Path, rows: int, columns: int, size: tuple[float, float]
) -> Iterator[tuple[Figure, np.ndarray]]:
    figure, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained"
    )
    try:
        yield figure, axes
        figure.savefig(path)
    finally:
        plt.close(figure)
