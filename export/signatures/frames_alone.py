"""The signature `serving_default` of two streams: frames, whose flow is computed."""

import dataclasses

import numpy as np
import tensorflow as tf

from export import flow_in_graph, preprocess
from export.signatures import frames as frames_signature
from export.signatures.two_streams import TwoStreams


def inputs(student: TwoStreams) -> dict[str, tf.TensorSpec]:
    return frames_signature.inputs(student.rgb)


def serve(student: TwoStreams, frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """Anticipates from frames of any number, size and proportions.

    Shapes:
        frames: uint8 (batch, time, height, width, channels): all that a camera showed
            in the `observed_s` of the student, as flow is that of neighbors.
    """
    frames = preprocess.checked(frames, student.channels)
    time = tf.shape(frames)[1]
    numbers = needed_frames(student, time)
    return anticipate(student, tf.gather(frames, numbers, axis=1), numbers, time)


def example(student: TwoStreams, frames: np.ndarray) -> dict[str, np.ndarray]:
    return frames_signature.example(student.rgb, frames)


def needed_frames(student: TwoStreams, time: tf.Tensor) -> tf.Tensor:
    """The numbers of the frames that an answer depends on, ascending."""
    kept, _ = preprocess.choose_frames(time, student.rgb.spec.clip_format)
    pairs = _pairs(student, time)
    needed, _ = tf.unique(tf.concat([kept, pairs.befores, pairs.afters], axis=0))
    return tf.sort(needed)


def anticipate(
    student: TwoStreams, frames: tf.Tensor, numbers: tf.Tensor, time: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The answer for clips of `time` frames, of which these `numbers` are given.

    Shapes:
        frames: uint8 (batch, numbers, height, width, channels).
        numbers: int32, as `needed_frames` gives them.
    """

    def position(wanted):
        return tf.searchsorted(numbers, wanted)

    rgb_format = student.rgb.spec.clip_format
    kept, places = preprocess.choose_frames(time, rgb_format)
    shown = tf.gather(frames, position(kept), axis=1)
    pairs = _pairs(student, time)
    pairs = dataclasses.replace(
        pairs, befores=position(pairs.befores), afters=position(pairs.afters)
    )
    return student.anticipate(
        preprocess.clips_of(shown, places, rgb_format),
        flow_in_graph.flow_clips(frames, pairs, student.flow.spec.clip_format),
    )


def _pairs(student, time):
    spec = student.flow.spec
    return flow_in_graph.choose_pairs(time, spec.clip_format, spec.observed_s)
