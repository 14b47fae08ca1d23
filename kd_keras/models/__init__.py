"""Backbones as tables of named stages, their published weights, trained students."""

from kd_keras.models.i3d import I3D as I3D
from kd_keras.models.student import load_student as load_student
from kd_keras.models.weights import load_i3d_weights as load_i3d_weights
