"""The signature `features`: what the network saw, for search and retrieval."""

import numpy as np
import tensorflow as tf

from export.signatures import frames as frames_signature
from export.signatures.served_student import ServedStudent


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    return frames_signature.inputs(student)


def serve(student: ServedStudent, frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """Gives the map of the distilled layer.

    Shapes:
        frames: As `serving_default` takes them.
        result: `feature_map` float32 (batch, time, height, width, channels), and
            `pooled` (batch, channels), its mean over time, height and width.
    """
    return outputs_of(student, frames_signature.clips_of(student, frames))


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    return frames_signature.example(student, frames)


def answers(student: ServedStudent, frames: np.ndarray) -> dict[str, tf.Tensor]:
    return serve(student, tf.constant(frames))


def outputs_of(student: ServedStudent, clips: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs of `serve` for float32 clips."""
    features = student.feature_map(clips)
    positions = list(range(1, len(features.shape) - 1))
    return {
        "feature_map": features,
        "pooled": tf.reduce_mean(features, axis=positions),
    }
