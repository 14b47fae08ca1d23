"""The signature `serving_default`: clips as uint8 frames, from any camera or file."""

import numpy as np
import tensorflow as tf

from export import preprocess
from export.signatures.served_student import ServedStudent


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    shape = (None, None, None, None, student.channels)
    return {"frames": tf.TensorSpec(shape, tf.uint8)}


def serve(student: ServedStudent, frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """Anticipates from frames of any number, size and proportions."""
    return student.anticipate(clips_of(student, frames))


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    return {"frames": frames}


def clips_of(student: ServedStudent, frames: tf.Tensor) -> tf.Tensor:
    """The float32 clips of frames; see `preprocess.py`."""
    return preprocess.prepare_frames(frames, student.spec.clip_format, student.channels)
