"""Pictures of a run: its input, its training curves, its confusion, its table."""

import os

import matplotlib

matplotlib.use("Agg")  # Draws to files; needs no screen.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from kd_keras import lettering

# A dollar sign in the name of a class begins no formula.
matplotlib.rcParams["text.parse_math"] = False

# Colors that color-blind people tell apart (Okabe and Ito, 2008), the palest last.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#000000",
    "#F0E442",
)

_DPI = 100

# Sizes on a contact sheet, in inches.
_FRAME_WIDTH, _GAP, _TITLE_HEIGHT = 1.4, 0.03, 0.22

# Units of what metrics.jsonl records, by the end of the name.
_UNITS = {
    "top1": "fraction of clips",
    "top5": "fraction of clips",
    "agreement": "fraction of clips",
    "recall": "mean fraction of a class",
    "feature_loss": "squared features (no unit)",
    "loss": "nats per clip",
}
_NO_UNIT = "no unit"

# Of a curve of one point, by the style of its line: training is hollow.
_FILL_STYLES = {"--": "none", "-": "full"}


def contact_sheet(clips, titles, path, frames_per_clip=6):
    """Draws clips as rows of frames.

    Args:
        clips: Clips (time, height, width, 3) in [-1, 1], or uint8. Optical flow, with
            2 channels, is shown as red (u) and green (v); no motion is gray.
        titles: One for each clip.
        path: PNG or SVG to write.
        frames_per_clip: Frames of a row, evenly spread over the clip.
    Returns:
        The picture as uint8 (height, width, 3).
    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from kd_keras import visualise
        >>> clips = np.zeros((2, 9, 32, 32, 3), "uint8")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/clips.png"
        ...     picture = visualise.contact_sheet(clips, ["open", "cut"], path)
        >>> picture.dtype.name, picture.shape[-1]
        ('uint8', 3)
    """
    family = lettering.families(titles)
    clips = [np.asarray(clip) for clip in clips]
    heights = [_TITLE_HEIGHT + _FRAME_WIDTH * c.shape[1] / c.shape[2] for c in clips]
    width, height = frames_per_clip * (_FRAME_WIDTH + _GAP) + _GAP, sum(heights) + _GAP
    figure = plt.figure(figsize=(width, height))
    # One axis in inches: an axis for each frame takes three times as long.
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    below = height
    for clip, title, row_height in zip(clips, titles, heights, strict=True):
        below -= row_height
        axis.text(
            _GAP,
            below + row_height - 0.75 * _TITLE_HEIGHT,
            lettering.readable(title),
            fontsize=8,
            family=family,
        )
        chosen = np.linspace(0, len(clip) - 1, frames_per_clip).round().astype(int)
        for column, frame in enumerate(clip[chosen]):
            left = _GAP + column * (_FRAME_WIDTH + _GAP)
            place = (
                left,
                left + _FRAME_WIDTH,
                below,
                below + row_height - _TITLE_HEIGHT,
            )
            axis.imshow(as_rgb(frame), extent=place, aspect="auto")
    # Images set the limits to their own places.
    axis.set(xlim=(0, width), ylim=(0, height))
    return _save(figure, path)


def curves(histories, path):
    """Draws each recorded value over the training steps.

    Args:
        histories: By phase, a list of records {"step": .., value name: ..}.
        path: PNG or SVG to write.
    Examples:
        >>> import tempfile
        >>> from kd_keras import visualise
        >>> records = [{"step": 10, "val_top1": 0.3}, {"step": 20, "val_top1": 0.5}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     picture = visualise.curves({"teacher": records}, f"{folder}/curves.png")
        >>> picture.shape[-1]
        3
    """
    histories = {
        phase: [_with_named_loss(record) for record in records]
        for phase, records in histories.items()
    }
    names = sorted(
        {
            name.removeprefix("val_")
            for records in histories.values()
            for record in records
            for name, value in record.items()
            if name != "step" and isinstance(value, float)
        }
    )
    columns = min(3, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    # Margins in inches: to fit them to the letters takes as long as the drawing.
    width, below = 4.5 * columns, 0.25 + 0.2 * -(-(len(histories) + 2) // 4)
    height = 2.8 * rows + below
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    figure.subplots_adjust(
        left=0.9 / width,
        right=1 - 0.35 / width,
        bottom=(below + 0.45) / height,
        top=1 - 0.35 / height,
        wspace=0.95 / 3.5,
        hspace=0.8 / 2.0,
    )
    for axis, name in zip(axes.flat, names, strict=False):
        for number, records in enumerate(histories.values()):
            color = PALETTE[number % len(PALETTE)]
            for key, style in ((name, "--"), (f"val_{name}", "-")):
                points = [(r["step"], r[key]) for r in records if key in r]
                if points:
                    # A line of one point would not be seen.
                    marker = "o" if len(points) == 1 else None
                    axis.plot(
                        *zip(*points, strict=True),
                        style,
                        color=color,
                        marker=marker,
                        fillstyle=_FILL_STYLES[style],
                    )
        axis.set_title(name.replace("_", " "), fontsize=10)
        axis.set_xlabel("training step")
        axis.set_ylabel(_unit(name))
        # Most of the drawing is ticks.
        axis.locator_params(nbins=5)
    for axis in list(axes.flat)[len(names) :]:
        axis.axis("off")
    _add_legend(figure, histories)
    return _save(figure, path)


def _with_named_loss(record):
    """A record whose loss of training has another name if it compares feature maps.

    Such a loss has no unit. Beside it the loss of validation, in nats, would look flat.
    """
    if not record.get("feature_loss") or "loss" not in record:
        return record
    named = {k: value for k, value in record.items() if k != "loss"}
    return named | {"loss_with_feature_maps": record["loss"]}


def _unit(name):
    return next((u for end, u in _UNITS.items() if name.endswith(end)), _NO_UNIT)


def _add_legend(figure, phases):
    """One for all curves, below them: it covers none."""
    handles = [
        Line2D([], [], color=PALETTE[number % len(PALETTE)], label=phase)
        for number, phase in enumerate(phases)
    ]
    handles += [
        Line2D(
            [],
            [],
            color="gray",
            linestyle=style,
            marker="o",
            markersize=3.5,
            fillstyle=_FILL_STYLES[style],
            label=text,
        )
        for style, text in (("--", "on training clips"), ("-", "on validation clips"))
    ]
    # Long enough for the dashes on both sides of a mark.
    figure.legend(
        handles=handles, loc="lower center", ncols=4, fontsize=8, handlelength=3
    )


def confusion(matrices, classes, path):
    """Draws confusion matrices side by side, as fractions of each true class.

    Args:
        matrices: By title, (true class, predicted class) of counts, or of fractions of
            each true class if some predictions are left out.
        classes: Class names.
        path: PNG or SVG to write.
    Examples:
        >>> import tempfile
        >>> from kd_keras import visualise
        >>> matrices = {"teacher": [[8, 2], [0, 5]], "student": [[6, 4], [1, 4]]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/confusion.png"
        ...     picture = visualise.confusion(matrices, ["open", "cut"], path)
        >>> picture.shape[-1]
        3
    """
    letters = {"fontsize": 6, "family": lettering.families(classes)}
    names = [lettering.readable(name) for name in classes]
    # Letters of long names leave the color bar the height of its own text.
    side = max(2.2 + 0.28 * len(classes), 2.7 + 0.06 * max(map(len, names)))
    figure, axes = plt.subplots(
        1,
        len(matrices),
        figsize=(side * len(matrices) + 0.6, side),
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        matrix = np.asarray(matrix, float)
        image = axis.imshow(
            matrix / np.maximum(matrix.sum(1, keepdims=True), 1),
            vmin=0,
            vmax=1,
            cmap="viridis",
        )
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(names)), names, rotation=90, **letters)
        axis.set_yticks(range(len(names)), names, **letters)
        axis.set_xlabel("predicted class")
        axis.set_ylabel("true class")
    figure.colorbar(image, ax=axes, label="fraction of the true class")
    return _save(figure, path)


def table(rows, path):
    """Draws (name, accuracy) rows as bars with their numbers.

    Examples:
        >>> import tempfile
        >>> from kd_keras import visualise
        >>> rows = [("teacher", 0.78), ("student", 0.64)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     picture = visualise.table(rows, f"{folder}/table.png")
        >>> picture.shape[-1]
        3
    """
    names, values = zip(*rows, strict=True)
    figure, axis = plt.subplots(figsize=(7, 0.5 + 0.42 * len(rows)))
    percent = [100 * value for value in values]
    bars = axis.barh(range(len(rows)), percent, color=PALETTE[0])
    axis.bar_label(bars, [f"{value:.1f}" for value in percent], padding=3)
    axis.set_yticks(range(len(rows)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, 108)
    axis.set_xlabel("top-1 in percent of clips")
    figure.tight_layout()
    return _save(figure, path)


def as_rgb(frames):
    """Returns frames as uint8 RGB, as a contact sheet shows them.

    Args:
        frames: (..., channels) of 3 or 2 channels, uint8 or in [-1, 1].
    Examples:
        >>> import numpy as np
        >>> from kd_keras import visualise
        >>> visualise.as_rgb(np.zeros((1, 1, 2))).tolist()
        [[[127, 127, 127]]]
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8:
        frames = ((np.clip(frames, -1, 1) + 1) * 127.5).astype(np.uint8)
    missing = 3 - frames.shape[-1]
    gray = np.full((*frames.shape[:-1], missing), 127, np.uint8)
    return np.concatenate([frames, gray], axis=-1)


def _save(figure, path):
    """Writes a figure as PNG, or as SVG if its path ends so.

    A PNG is what was drawn for the caller: `savefig` would draw the figure again.
    """
    figure.set_dpi(_DPI)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    if os.fspath(path).endswith(".svg"):
        figure.savefig(path)
    else:
        plt.imsave(path, picture, format="png", dpi=_DPI)
    plt.close(figure)
    return picture
