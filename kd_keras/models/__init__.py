"""Backbones as tables of named stages, their published weights, trained students."""

from kd_keras.models.backbones import build_backbone as build_backbone
from kd_keras.models.backbones import default_feature_layer as default_feature_layer
from kd_keras.models.backbones import load_backbone_weights as load_backbone_weights
from kd_keras.models.i3d import I3D as I3D
from kd_keras.models.r2plus1d import R2Plus1D as R2Plus1D
from kd_keras.models.student import load_student as load_student
from kd_keras.models.tsn import TSM as TSM
from kd_keras.models.tsn import TSN as TSN
from kd_keras.models.weights import load_i3d_weights as load_i3d_weights
