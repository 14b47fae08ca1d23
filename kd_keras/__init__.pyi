# What static tools see of __init__.py, which imports these names when they are used.
from kd_keras import data as data
from kd_keras import distill as distill
from kd_keras import losses as losses
from kd_keras import metrics as metrics
from kd_keras import models as models
from kd_keras import statistics as statistics
from kd_keras import training as training
from kd_keras import visualise as visualise
from kd_keras.distill.distiller import Distiller as Distiller
from kd_keras.losses import (
    AttentionalPoolingDistillation as AttentionalPoolingDistillation,
)
from kd_keras.losses import AttentionalPoolingLoss as AttentionalPoolingLoss
from kd_keras.losses import DirectLoss as DirectLoss
from kd_keras.losses import SoftLabelLoss as SoftLabelLoss
from kd_keras.losses import attentional_pooling as attentional_pooling
from kd_keras.models import I3D as I3D
from kd_keras.models import TSM as TSM
from kd_keras.models import TSN as TSN
from kd_keras.models import R2Plus1D as R2Plus1D
from kd_keras.models import TemporalConvolutions as TemporalConvolutions
from kd_keras.models import build_backbone as build_backbone
from kd_keras.models import load_backbone_weights as load_backbone_weights
from kd_keras.models import load_i3d_weights as load_i3d_weights
from kd_keras.models import load_student as load_student

__version__: str
