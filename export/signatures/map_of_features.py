"""The signature `features` of a student that takes features: its own layer's map."""

import numpy as np
import tensorflow as tf

from export.signatures import features as features_signature
from export.signatures import given_features
from export.signatures.served_student import ServedStudent


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    return given_features.inputs(student)


def serve(student: ServedStudent, features: tf.Tensor) -> dict[str, tf.Tensor]:
    """Gives what the signature `features` of any other student gives."""
    clips = given_features.clips_of(student, features)
    return features_signature.outputs_of(student, clips)


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    return given_features.example(student, frames)


def answers(student: ServedStudent, frames: np.ndarray) -> dict[str, tf.Tensor]:
    return serve(student, **example(student, frames))
