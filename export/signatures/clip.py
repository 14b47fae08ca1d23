"""The signature `clip`: what the network itself takes, for clients that prepare it."""

import numpy as np
import tensorflow as tf

from export import limits
from export.signatures import frames as frames_signature
from export.signatures.served_student import ServedStudent

# Beyond 1, what rounding may add.
_SLACK = 1e-3


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    return {"clip": tf.TensorSpec((None, *student.clip_shape), tf.float32)}


def serve(student: ServedStudent, clip: tf.Tensor) -> dict[str, tf.Tensor]:
    """Anticipates from float32 clips in [-1, 1] of exactly the network's shape."""
    return student.anticipate(_checked(clip, student.clip_shape))


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    clips = frames_signature.clips_of(student, tf.constant(frames))
    return {"clip": clips.numpy()}


def _checked(clip, clip_shape):
    shape = tf.shape(clip)
    fits = tf.equal(tf.rank(clip), 5) & tf.reduce_all(shape[1:] == clip_shape)
    fits &= tf.reduce_all((shape[:1] >= 1) & (shape[:1] <= limits.MAX_CLIPS))
    sentence = (
        f"clip must have the shape (batch, {', '.join(map(str, clip_shape))}), with a "
        f"batch of 1 to {limits.MAX_CLIPS}. Got the shape"
    )
    with tf.control_dependencies([tf.debugging.Assert(fits, [sentence, shape], 9)]):
        clip = tf.reshape(clip, (shape[0], *clip_shape))
    # No comparison with NaN is true.
    usable = tf.reduce_all(tf.abs(clip) <= 1 + _SLACK)
    sentence = "clip must hold numbers in [-1, 1] and no NaN. Got numbers from, to"
    found = [tf.reduce_min(clip), tf.reduce_max(clip)]
    with tf.control_dependencies([tf.debugging.Assert(usable, [sentence, *found])]):
        return tf.identity(clip)
