"""The signature `encoded_frames` of two streams: JPEG or PNG files, without flow.

Pictures are scaled as soon as they are decoded. The answer is the same as for frames
that the client scales before it sends them, as `export.client` does.
"""

import numpy as np
import tensorflow as tf

from export import preprocess
from export.signatures import encoded_frames as encoded_signature
from export.signatures import frames_alone
from export.signatures.picture_files import checked_files
from export.signatures.two_streams import TwoStreams


def inputs(student: TwoStreams) -> dict[str, tf.TensorSpec]:
    return encoded_signature.inputs(student.rgb)


def serve(student: TwoStreams, encoded_frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """Anticipates from files (batch, time) of pictures, all of one size."""
    files = encoded_signature.checked(encoded_frames)
    time = tf.shape(files)[1]
    numbers = frames_alone.needed_frames(student, time)
    files, are_png = checked_files(tf.gather(files, numbers, axis=1), numbers)
    frames = _decoded(student, files, are_png)
    return frames_alone.anticipate(student, frames, numbers, time)


def example(student: TwoStreams, frames: np.ndarray) -> dict[str, np.ndarray]:
    return encoded_signature.example(student.rgb, frames)


def _decoded(student, files, are_png):
    """uint8 (batch, time, height, width, channels), scaled for the larger stream."""
    formats = (student.rgb.spec.clip_format, student.flow.spec.clip_format)
    larger = max(formats, key=lambda clip_format: clip_format.resized_side)
    shape = tf.shape(files)
    files, are_png = tf.reshape(files, [-1]), tf.reshape(are_png, [-1])
    first = encoded_signature.decode(files[0], are_png[0], student.channels)
    wanted = tf.shape(first)[:2]

    def decode(file_and_kind):
        picture = encoded_signature.decode(*file_and_kind, student.channels)
        size = tf.shape(picture)[:2]
        is_same = tf.debugging.Assert(
            tf.reduce_all(size == wanted),
            ["All frames must have one height and width. Got", wanted, "and", size],
        )
        with tf.control_dependencies([is_same]):
            return preprocess.scale(picture[None], larger)[0]

    pictures = tf.map_fn(
        decode,
        (files, are_png),
        fn_output_signature=tf.TensorSpec((None, None, student.channels), tf.uint8),
        parallel_iterations=encoded_signature.PARALLEL,
    )
    height, width = tf.unstack(tf.shape(pictures)[1:3])
    return tf.reshape(pictures, (shape[0], shape[1], height, width, student.channels))
