"""A student in a lower precision: made, measured on validation clips, refused if worse.

In bfloat16 the network of a SavedModel computes by itself. OpenVINO has int8.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import keras
import numpy as np

from export import accuracy, formats, int8
from export.accuracy import AccuracyChange
from export.formats import openvino
from export.signatures import ServedStudent
from kd_keras.models.outputs import as_probabilities
from kd_keras.models.precision import in_bfloat16

# By precision, the formats that have it.
PRECISIONS = {"bfloat16": ("savedmodel",), "int8": ("openvino",)}


def require(precision: str, name: str) -> None:
    """Raises a ValueError unless a format has the precision, and all is installed."""
    holders = PRECISIONS[precision]
    if name not in holders:
        raise ValueError(
            f"--precision={precision} is for --format={' or '.join(holders)}. Got "
            f"--format={name}; export it in float32."
        )
    if precision == "int8":
        formats.require_packages("--precision=int8", int8.PACKAGES)


def lowered(
    student: ServedStudent, fold_batch_norm: bool, source: str, max_drop: float
) -> tuple[ServedStudent, AccuracyChange]:
    """The student in bfloat16, and what that costs.

    Args:
        fold_batch_norm: Whether BatchNorm becomes a part of the convolutions first.
        source: The student's file, in the folder of its run.
        max_drop: By how much accuracy on validation clips may drop, a fraction.
    Raises:
        ValueError: If it drops by more, or there are no such clips.
    """
    rounded = rounded_to_bfloat16(student, fold_batch_norm)
    before, after = map(_asked, (student, rounded))
    return rounded, _measured("bfloat16", source, before, after, max_drop)


def rounded_to_bfloat16(student: ServedStudent, fold_batch_norm: bool) -> ServedStudent:
    """The student as `lowered` makes it."""
    served = student.folded() if fold_batch_norm else student
    return dataclasses.replace(served, model=in_bfloat16(served.model))


def quantize(
    file: pathlib.Path, student: ServedStudent, source: str, max_drop: float
) -> AccuracyChange:
    """Replaces a network in a file of OpenVINO by one in int8, as `lowered` does."""
    training = accuracy.clips_of_run(source, "training", int8.CALIBRATION_CLIPS)
    int8.quantize(str(file), (clips for clips, _ in training))
    return _measured(
        "int8", source, _asked(student), openvino.load(str(file)), max_drop
    )


def _measured(precision, source, before, after, max_drop) -> AccuracyChange:
    batches = accuracy.clips_of_run(source, "validation")
    change = accuracy.measure(precision, batches, before, after)
    accuracy.require_small(change, max_drop)
    print(f"In {precision}, {change}.", flush=True)
    return change


def _asked(student) -> Callable[[np.ndarray], np.ndarray]:
    network = as_probabilities(student.model, student.clip_shape)
    return lambda clips: keras.ops.convert_to_numpy(network(clips, training=False))
