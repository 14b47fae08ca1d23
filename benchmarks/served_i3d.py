"""The student that benchmarks of serving ask, and the Session that answers."""

import kd_keras
from export import verification
from export.signatures import ServedStudent
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat

_CLASSES = tuple(f"class {number}" for number in range(400))


def served_i3d(num_frames, side, width=1.0):
    """I3D with random weights and 400 classes, for clips of this many frames."""
    model = kd_keras.I3D(len(_CLASSES), num_frames, side, width=width)
    return ServedStudent(model, ExportSpec(_CLASSES, ClipFormat(num_frames, side)))


def session_of(version, signature, config=None):
    """A Session's function from the input of an export's signature to probabilities.

    Args:
        version: The export's folder.
        signature: Its name, which is also the name of its input.
        config: The Session's `ConfigProto`.
    """
    session, signatures = verification.load_session(version, config)
    about = signatures[signature]
    return session.make_callable(
        about.outputs["probabilities"].name, [about.inputs[signature].name]
    )
