"""A correspondence as files: a PNG to look at and an MP4 to play."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from kd_keras import visualise
from kd_keras.data.video import reading
from train.report.activation import overlay
from train.report.correspondence import Correspondence, Grid

_MARK = visualise.PALETTE[4]
_MARK_RGB = np.array([int(_MARK[place : place + 2], 16) for place in (1, 3, 5)])
# Frames of the MP4, and how tall they are at least.
_FRAME_RATE, _LEAST_PX = 6, 240


def draw(correspondence: Correspondence, cell: int, path: pathlib.Path) -> None:
    """Draws one observed cell, where it attends, and where that place attends back.

    Args:
        correspondence: The `Correspondence`.
        cell: Number of the observed cell.
        path: PNG to write.
    """
    found, there = correspondence, _place_of(correspondence.forward[cell])
    rows = (
        ("observed clip, and a cell", found.observed, found.observed_grid, None, cell),
        (
            "future clip: where it attends",
            found.future,
            found.future_grid,
            found.forward[cell],
            there,
        ),
        (
            "observed clip: where the marked future cell attends",
            found.observed,
            found.observed_grid,
            found.backward[there],
            cell,
        ),
    )
    columns = max(grid[0] for _, _, grid, _, _ in rows)
    height, width = found.observed.shape[1:3]
    frame = 1.5
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(frame * columns + 1.0, len(rows) * (frame * height / width + 0.3)),
        squeeze=False,
        layout="constrained",
    )
    highest = max(
        weights.max() * len(weights)
        for _, _, _, weights, _ in rows
        if weights is not None
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, (title, clip, grid, weights, marked) in zip(axes, rows, strict=True):
        frames = _frames_of(clip, grid)
        row[0].set_title(title, loc="left", fontsize=8)
        for step, axis in enumerate(row[: grid[0]]):
            size = (-0.5, grid[2] - 0.5, grid[1] - 0.5, -0.5)
            axis.imshow(frames[step], extent=size, aspect="auto")
            if weights is not None:
                times = weights.reshape(grid)[step] * len(weights)
                image = axis.imshow(
                    times,
                    extent=size,
                    aspect="auto",
                    cmap="viridis",
                    vmin=0,
                    vmax=highest,
                    alpha=0.85 * np.sqrt(times / highest),
                )
            if marked // (grid[1] * grid[2]) == step:
                y, x = divmod(marked % (grid[1] * grid[2]), grid[2])
                axis.add_patch(
                    Rectangle(
                        (x - 0.5, y - 0.5), 1, 1, fill=False, color=_MARK, linewidth=2
                    )
                )
    figure.colorbar(
        image, ax=axes, label="attention, times that of equal weights", shrink=0.6
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def film(correspondence: Correspondence, cell: int, path: pathlib.Path) -> None:
    """Writes an MP4: the observed clip beside the future clip with the attention on it.

    The cell is marked while its moment is shown.

    Args:
        correspondence: The `Correspondence`.
        cell: Number of the observed cell.
        path: MP4 to write.
    """
    found = correspondence
    weights = found.forward[cell].reshape(found.future_grid)
    left = _marked(visualise.as_rgb(found.observed), found.observed_grid, cell)
    right = overlay(found.future, weights / weights.max())
    frames = np.concatenate([left, right], axis=2)
    times = max(1, -(-_LEAST_PX // frames.shape[1]))
    frames = frames.repeat(times, axis=1).repeat(times, axis=2)
    reading.write_video(path, frames, _FRAME_RATE)


def _place_of(weights: np.ndarray) -> int:
    return int(np.argmax(weights))


def _frames_of(clip: np.ndarray, grid: Grid) -> np.ndarray:
    """The frame in the middle of each of the grid's steps."""
    steps = ((np.arange(grid[0]) + 0.5) * len(clip) / grid[0]).astype(int)
    return visualise.as_rgb(clip)[steps]


def _marked(frames: np.ndarray, grid: Grid, cell: int) -> np.ndarray:
    """The frames with an outline around a cell while its moment is shown."""
    frames = frames.copy()
    step, rest = divmod(cell, grid[1] * grid[2])
    row, column = divmod(rest, grid[2])
    shown = np.arange(len(frames)) * grid[0] // len(frames) == step
    height, width = frames.shape[1:3]
    top, below = row * height // grid[1], (row + 1) * height // grid[1] - 1
    left, right = column * width // grid[2], (column + 1) * width // grid[2] - 1
    for part in (
        (slice(top, below + 1), [left, right]),
        ([top, below], slice(left, right + 1)),
    ):
        for frame in np.flatnonzero(shown):
            frames[(frame, *part)] = _MARK_RGB
    return frames
