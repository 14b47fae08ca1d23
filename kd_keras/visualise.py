"""Pictures of a run: its input, its training curves, its confusion, its table."""

import matplotlib

matplotlib.use("Agg")  # Draws to files; needs no screen.

import matplotlib.pyplot as plt
import numpy as np

from kd_keras import lettering

# A dollar sign in the name of a class begins no formula.
matplotlib.rcParams["text.parse_math"] = False


def contact_sheet(clips, titles, path, frames_per_clip=6):
    """Draws clips as rows of frames.

    Args:
        clips: Clips (time, height, width, 3) in [-1, 1], or uint8. Optical flow, with
            2 channels, is shown as red (u) and green (v); no motion is gray.
        titles: One for each clip.
        path: PNG to write.
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
    figure, rows = plt.subplots(
        len(clips),
        frames_per_clip,
        figsize=(1.4 * frames_per_clip, 1.65 * len(clips)),
        squeeze=False,
    )
    for row, clip, title in zip(rows, clips, titles, strict=True):
        chosen = np.linspace(0, len(clip) - 1, frames_per_clip).round().astype(int)
        for axis, frame in zip(row, np.asarray(clip)[chosen], strict=True):
            if frame.dtype != np.uint8:
                frame = ((np.clip(frame, -1, 1) + 1) * 127.5).astype(np.uint8)
            axis.imshow(_as_rgb(frame))
            axis.axis("off")
        title = lettering.readable(title)
        row[0].set_title(title, loc="left", fontsize=8, family=family)
    figure.tight_layout()
    return _save(figure, path)


def curves(histories, path):
    """Draws each recorded value over the training steps.

    Args:
        histories: By phase, a list of records {"step": .., value name: ..}.
        path: PNG to write.
    Examples:
        >>> import tempfile
        >>> from kd_keras import visualise
        >>> records = [{"step": 10, "val_top1": 0.3}, {"step": 20, "val_top1": 0.5}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     picture = visualise.curves({"teacher": records}, f"{folder}/curves.png")
        >>> picture.shape[-1]
        3
    """
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
    figure, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, 3.2 * rows), squeeze=False
    )
    for axis, name in zip(axes.flat, names, strict=False):
        for number, (phase, records) in enumerate(histories.items()):
            for key, style in ((name, "--"), (f"val_{name}", "-")):
                points = [(r["step"], r[key]) for r in records if key in r]
                if points:
                    label = f"{phase}, validation" if style == "-" else phase
                    axis.plot(
                        *zip(*points, strict=True), style, c=f"C{number}", label=label
                    )
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.legend(fontsize=7)
    for axis in list(axes.flat)[len(names) :]:
        axis.axis("off")
    figure.tight_layout()
    return _save(figure, path)


def confusion(matrices, classes, path):
    """Draws confusion matrices side by side, as fractions of each true class.

    Args:
        matrices: By title, counts (true class, predicted class).
        classes: Class names.
        path: PNG to write.
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
    side = 2.2 + 0.28 * len(classes)
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(side * len(matrices), side), squeeze=False
    )
    for axis, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        matrix = np.asarray(matrix, float)
        axis.imshow(
            matrix / np.maximum(matrix.sum(1, keepdims=True), 1),
            vmin=0,
            vmax=1,
            cmap="Blues",
        )
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(names)), names, rotation=90, **letters)
        axis.set_yticks(range(len(names)), names, **letters)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
    figure.tight_layout()
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
    bars = axis.barh(range(len(rows)), values, color="steelblue")
    axis.bar_label(bars, [f"{100 * value:.1f}" for value in values], padding=3)
    axis.set_yticks(range(len(rows)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, 1.08)
    axis.set_xlabel("top-1 accuracy")
    figure.tight_layout()
    return _save(figure, path)


def _as_rgb(frame):
    if frame.shape[-1] == 3:
        return frame
    gray = np.full((*frame.shape[:2], 3 - frame.shape[-1]), 127, np.uint8)
    return np.concatenate([frame, gray], axis=-1)


def _save(figure, path):
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return picture
