"""The frozen teacher and the Distiller that trains a student from it."""

from kd_keras.distill.distiller import Distiller
from kd_keras.distill.teacher import FrozenTeacher

__all__ = ["Distiller", "FrozenTeacher"]
