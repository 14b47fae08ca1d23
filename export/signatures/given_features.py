"""The signature `serving_default` of a student of features that others extracted."""

import numpy as np
import tensorflow as tf

from export import limits, preprocess
from export.signatures.served_student import ServedStudent


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    return {"features": tf.TensorSpec((None, None, *_step(student)), tf.float32)}


def serve(student: ServedStudent, features: tf.Tensor) -> dict[str, tf.Tensor]:
    """Anticipates from the features of any number of time steps.

    Shapes:
        features: float32 (batch, time, height, width, channels), or (batch, time,
            channels) if a time step is a vector.
    """
    return student.anticipate(clips_of(student, features))


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    return {"features": frames.reshape(*frames.shape[:2], *_step(student))}


def clips_of(student: ServedStudent, features: tf.Tensor) -> tf.Tensor:
    """The float32 clips of features: the time steps that training would choose."""
    features = _checked(features, _step(student))
    time = tf.shape(features)[1]
    kept, places = preprocess.choose_frames(
        time, student.spec.clip_format, name="features"
    )
    chosen = tf.gather(tf.gather(features, kept, axis=1), places, axis=1)
    return tf.reshape(chosen, (-1, *student.clip_shape))


def _step(student):
    """The shape of a time step, as the files have it that were trained on."""
    _, height, width, channels = student.clip_shape
    return (channels,) if height == width == 1 else (height, width, channels)


def _checked(features, step):
    """The features, of which all but batch and time is known from here on."""
    shape = tf.shape(features)
    # A slice fails for no rank.
    fits = tf.equal(tf.rank(features), 2 + len(step)) & tf.reduce_all(shape >= 1)
    fits &= tf.reduce_all(shape[2:] == step)
    sentence = (
        f"features must have the shape (batch, time, {', '.join(map(str, step))}), "
        "each of it 1 or more. Got the shape"
    )
    with tf.control_dependencies([tf.debugging.Assert(fits, [sentence, shape], 9)]):
        few = limits.few_enough(shape[:2])
    sentence = (
        f"A request may hold at most {limits.MAX_CLIPS} clips of {limits.MAX_FRAMES} "
        "time steps. Got features of the shape"
    )
    with tf.control_dependencies([tf.debugging.Assert(few, [sentence, shape], 9)]):
        features = tf.reshape(features, (shape[0], shape[1], *step))
    finite = tf.reduce_all(tf.math.is_finite(features))
    sentence = "features must be finite numbers. Some are not."
    with tf.control_dependencies([tf.debugging.Assert(finite, [sentence])]):
        return tf.identity(features)
