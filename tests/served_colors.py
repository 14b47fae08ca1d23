"""A stand-in for an exported student: it tells clips apart by their colors.

It has the signatures that clients use and no network, so that a test can say what the
right answer is: softmax(COLOR_SCALE * mean color of the clip, later frames weighing
more).
"""

import numpy as np

from export import student_file
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat

SPEC = ExportSpec(
    ("red", "grün", 'blue, "b"'),
    ClipFormat(num_frames=4, image_size=16),
    observed_s=1.0,
    lead_time_s=0.5,
)
COLOR_SCALE = 8.0


def write(folder, spec=SPEC):
    """Writes the SavedModel; returns the folder."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.string)])
    def encoded_frames(encoded_frames):
        time = tf.shape(encoded_frames)[1]
        means = tf.map_fn(
            lambda file: tf.reduce_mean(
                tf.cast(tf.io.decode_jpeg(file, 3), tf.float32), axis=(0, 1)
            ),
            tf.reshape(encoded_frames, [-1]),
            fn_output_signature=tf.TensorSpec((3,), tf.float32),
        )
        means = tf.reshape(means, (-1, time, 3)) / 255
        weights = tf.range(1, time + 1, dtype=tf.float32)[:, None]
        colors = tf.reduce_sum(means * weights, axis=1) / tf.reduce_sum(weights)
        return {
            "probabilities": tf.nn.softmax(COLOR_SCALE * colors),
            "num_frames": tf.fill(tf.shape(encoded_frames)[:1], time),
        }

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)])
    def describe(clips):
        text = student_file.to_json(spec)
        return {"student_json": tf.fill(tf.shape(clips), text)}

    signatures = {"encoded_frames": encoded_frames, "describe": describe}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def probabilities(frames):
    """The right answer for uint8 frames (batch, time, height, width, 3)."""
    means = frames.mean(axis=(2, 3)) / 255
    weights = np.arange(1, means.shape[1] + 1)[:, None]
    odds = np.exp(COLOR_SCALE * (means * weights).sum(axis=1) / weights.sum())
    return odds / odds.sum(axis=1, keepdims=True)
