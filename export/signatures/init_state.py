"""The signature `init_state`: what `step` knows of a camera before its first frame."""

import numpy as np
import tensorflow as tf

from export import limits
from export.signatures.served_student import ServedStudent


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    return {"window": tf.TensorSpec((None,), tf.int32)}


def serve(student: ServedStudent, window: tf.Tensor) -> dict[str, tf.Tensor]:
    """Gives the state of cameras that have sent nothing yet.

    Shapes:
        window: int32 (batch,), how many frames each camera sends in the `observed_s` of
            the student. An answer is of so many.
        result: `state_frames` uint8 (batch, largest window, side, side, channels), the
            newest frames as the network sees them, the last one at the end;
            `state_seen` int32 (batch,), how many of them count; and `state_window`
            int32 (batch,), the most that will. Windows may differ, because a server
            that batches joins the requests of several clients.
    """
    window = _checked(student, window)
    _, side, _, channels = student.clip_shape
    shape = (tf.size(window), tf.reduce_max(window), side, side, channels)
    return {
        "state_frames": tf.zeros(shape, tf.uint8),
        "state_seen": tf.zeros_like(window),
        "state_window": window,
    }


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    return {"window": np.full(len(frames), frames.shape[1], np.int32)}


def answers(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs for `example`."""
    _, side, _, channels = student.clip_shape
    (window,) = example(student, frames).values()
    return {
        "state_frames": np.zeros((*frames.shape[:2], side, side, channels), np.uint8),
        "state_seen": np.zeros_like(window),
        "state_window": window,
    }


def _checked(student, window):
    fits = tf.equal(tf.rank(window), 1) & (tf.size(window) >= 1)
    fits &= tf.size(window) <= limits.MAX_CLIPS
    window = tf.reshape(window, [-1])
    fits &= tf.reduce_all((window >= 1) & (window <= limits.MAX_FRAMES))
    sentence = (
        f"window must be a number of frames from 1 to {limits.MAX_FRAMES} for each of "
        f"1 to {limits.MAX_CLIPS} cameras. Got"
    )
    asserted = tf.debugging.Assert(fits, [sentence, window], 9)
    _, side, _, channels = student.clip_shape
    most = limits.MAX_STATE_BYTES // (side * side * channels)
    with tf.control_dependencies([asserted]):
        frames = tf.size(window) * tf.reduce_max(window)
    sentence = (
        f"A state may hold at most {most} frames, the number of cameras times the "
        "largest window. Ask for fewer cameras at a time. Got the windows"
    )
    few = tf.debugging.Assert(frames <= most, [sentence, window], 9)
    with tf.control_dependencies([few]):
        return tf.identity(window)
