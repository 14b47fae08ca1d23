"""Feature maps, and the feature loss of each example of a batch, for tests."""

import numpy as np

from kd_keras.losses import AttentionalPoolingLoss

DIRECTIONS = ("symmetric", "student_to_teacher", "teacher_to_student")


def feature_maps(teacher_shape, student_shape, seed=0):
    """Non-negative maps, as after a ReLU."""
    random = np.random.default_rng(seed)
    return tuple(
        np.maximum(random.normal(0.3, 1.0, shape), 0.0).astype("float32")
        for shape in (teacher_shape, student_shape)
    )


def unreduced(**options):
    return AttentionalPoolingLoss(**options, reduction=None)
