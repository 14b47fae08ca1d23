"""Knowledge distillation for human action anticipation.

Losses and models run on every Keras backend. What needs TensorFlow is imported when
it is first used.
"""

from kd_keras.losses import AttentionalPoolingLoss as AttentionalPoolingLoss
from kd_keras.losses import DirectLoss as DirectLoss
from kd_keras.losses import SoftLabelLoss as SoftLabelLoss
from kd_keras.losses import attentional_pooling as attentional_pooling
from kd_keras.models import I3D as I3D
from kd_keras.models import TSM as TSM
from kd_keras.models import TSN as TSN
from kd_keras.models import R2Plus1D as R2Plus1D
from kd_keras.models import build_backbone as build_backbone
from kd_keras.models import load_backbone_weights as load_backbone_weights
from kd_keras.models import load_i3d_weights as load_i3d_weights
from kd_keras.models import load_student as load_student

__version__ = "0.1.0"


def __getattr__(name: str):
    if name == "Distiller":
        from kd_keras.distill.distiller import Distiller

        return Distiller
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "Distiller"])
