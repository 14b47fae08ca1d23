"""The student that benchmarks of serving ask."""

import kd_keras
from export.signatures import ServedStudent
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat

_CLASSES = tuple(f"class {number}" for number in range(400))


def served_i3d(num_frames, side, width=1.0):
    """I3D with random weights and 400 classes, for clips of this many frames."""
    model = kd_keras.I3D(len(_CLASSES), num_frames, side, width=width)
    return ServedStudent(model, ExportSpec(_CLASSES, ClipFormat(num_frames, side)))
