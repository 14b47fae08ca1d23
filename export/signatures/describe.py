"""The signature `describe`: how to feed the student, for clients without its folder."""

import numpy as np
import tensorflow as tf

from export import limits, student_file
from export.signatures.served_student import ServedStudent


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    return {"clips": tf.TensorSpec((None,), tf.int32)}


def serve(student: ServedStudent, clips: tf.Tensor) -> dict[str, tf.Tensor]:
    """Gives `student_json` (batch,), the text of `assets.extra/student.json`.

    A server that batches requests wants a batch from each. So the text comes once for
    each of `clips`, whatever these are.
    """
    text = student_file.to_json(student.spec)
    return {"student_json": tf.fill(tf.shape(_checked(clips)), text)}


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    return {"clips": np.zeros(len(frames), np.int32)}


def answers(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs for `example`, as bytes, which need no pickle."""
    text = student_file.to_json(student.spec).encode()
    return {"student_json": np.array([text] * len(frames))}


def _checked(clips):
    fits = tf.equal(tf.rank(clips), 1) & (tf.size(clips) >= 1)
    fits &= tf.size(clips) <= limits.MAX_CLIPS
    sentence = (
        f"clips must have the shape (batch,), with a batch of 1 to {limits.MAX_CLIPS}. "
        "Got the shape"
    )
    asserted = tf.debugging.Assert(fits, [sentence, tf.shape(clips)], 9)
    with tf.control_dependencies([asserted]):
        return tf.reshape(clips, [-1])
