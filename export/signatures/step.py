"""The signature `step`: one more frame of each camera, and the answer it gives.

A camera sends each frame once. `init_state` gives the first state, and each step the
next; the server keeps nothing. The answer is that of `serving_default` for the frames
of the window, or for those that have come if these are fewer.

The state keeps frames as the network sees them. The network itself sees its whole clip
at each step. A clip shows other frames at each step, and its maps can be kept only if
it shows the same ones, moved by a multiple of the network's stride in time.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from export import limits, preprocess
from export.signatures import frames as frames_signature
from export.signatures.served_student import ServedStudent


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    _, side, _, channels = student.clip_shape
    return {
        "frame": tf.TensorSpec((None, None, None, channels), tf.uint8),
        "state_frames": tf.TensorSpec((None, None, side, side, channels), tf.uint8),
        "state_seen": tf.TensorSpec((None,), tf.int32),
        "state_window": tf.TensorSpec((None,), tf.int32),
    }


def serve(
    student: ServedStudent,
    frame: tf.Tensor,
    state_frames: tf.Tensor,
    state_seen: tf.Tensor,
    state_window: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Anticipates from the newest frames of each camera.

    Shapes:
        frame: uint8 (batch, height, width, channels), the newest frame of each.
        state_frames, state_seen, state_window: As `init_state` or the last step gave
            them.
        result: What `serving_default` gives, and the three for the next step.
    """
    clip_format = _without_error(student.spec.clip_format)
    frame, frames, seen, window = _checked(
        student, frame, state_frames, state_seen, state_window
    )
    squares = preprocess.to_squares(frame, clip_format)
    frames = tf.concat([frames[:, 1:], squares[:, None]], axis=1)
    seen = tf.minimum(seen + 1, window)
    num_frames, kept = clip_format.num_frames, tf.shape(frames)[1]

    def shown(given):
        chosen, places = preprocess.choose_frames(given, clip_format)
        return kept - given + tf.gather(chosen, places)

    indices = tf.map_fn(
        shown, seen, fn_output_signature=tf.TensorSpec((num_frames,), tf.int32)
    )
    squares = tf.gather(frames, indices, axis=1, batch_dims=1)
    clips = preprocess.to_clips(squares, tf.range(num_frames), clip_format)
    return {
        **student.anticipate(clips),
        "state_frames": frames,
        "state_seen": seen,
        "state_window": window,
    }


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The last of these frames, in a window of one more than there are."""
    squares, time = _squares(student, frames), frames.shape[1]
    before = np.concatenate([squares[:, :1], squares[:, :1], squares[:, :-1]], axis=1)
    return {
        "frame": frames[:, -1],
        "state_frames": before,
        "state_seen": np.full(len(frames), time - 1, np.int32),
        "state_window": np.full(len(frames), time + 1, np.int32),
    }


def answers(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs for `example`: the answer of these frames, and the next state."""
    squares, time = _squares(student, frames), frames.shape[1]
    return {
        **frames_signature.serve(student, tf.constant(frames)),
        "state_frames": np.concatenate([squares[:, :1], squares], axis=1),
        "state_seen": np.full(len(frames), time, np.int32),
        "state_window": np.full(len(frames), time + 1, np.int32),
    }


def _without_error(clip_format):
    """Until the clip is complete there are fewer frames, whatever was trained on."""
    if clip_format.short_clip == "error":
        return dataclasses.replace(clip_format, short_clip="resample")
    return clip_format


def _squares(student, frames):
    flat = tf.constant(frames.reshape(-1, *frames.shape[2:]))
    squares = preprocess.to_squares(flat, student.spec.clip_format).numpy()
    return squares.reshape(*frames.shape[:2], *squares.shape[1:])


def _checked(student, frame, frames, seen, window):
    """The four, of which rank and channels are known from here on."""
    _, side, _, channels = student.clip_shape
    sizes, kept = tf.shape(frame), tf.shape(frames)
    fits = tf.equal(tf.rank(frame), 4) & tf.equal(tf.rank(frames), 5)
    fits &= tf.reduce_all(sizes >= 1) & tf.reduce_all(sizes[3:] == channels)
    fits &= tf.reduce_all(kept >= 1)
    fits &= tf.reduce_all(kept[2:] == (side, side, channels))
    fits &= tf.reduce_all(sizes[:1] == kept[:1])
    for numbers in (seen, window):
        fits &= tf.equal(tf.rank(numbers), 1)
        fits &= tf.reduce_all(sizes[:1] == tf.shape(numbers)[:1])
    sentence = (
        f"frame must have the shape (batch, height, width, {channels}), and the state "
        "be what init_state or the last step gave for this batch. Got frame and "
        "state_frames of the shapes"
    )
    asserted = tf.debugging.Assert(fits, [sentence, sizes, kept], 9)
    with tf.control_dependencies([asserted]):
        within = limits.few_enough(kept[:2]) & limits.small_enough(sizes[1:3])
    sentence = f"{limits.SENTENCE} Got frame and state_frames of the shapes"
    within = tf.debugging.Assert(within, [sentence, sizes, kept], 9)
    with tf.control_dependencies([asserted]):
        known = tf.reduce_all((seen >= 0) & (seen <= window))
        known &= tf.reduce_all((window >= 1) & (window <= kept[1]))
    sentence = (
        "state_seen must be from 0 to state_window, and state_window from 1 to the "
        "frames of state_frames, as init_state or the last step gave them. Got"
    )
    known = tf.debugging.Assert(known, [sentence, seen, window, kept], 9)
    with tf.control_dependencies([within, known]):
        return (
            tf.reshape(frame, (sizes[0], sizes[1], sizes[2], channels)),
            tf.reshape(frames, (kept[0], kept[1], side, side, channels)),
            tf.reshape(seen, [-1]),
            tf.reshape(window, [-1]),
        )
