"""Losses of knowledge distillation, on every Keras backend."""

from kd_keras.losses.attentional_pooling import (
    AttentionalPoolingLoss as AttentionalPoolingLoss,
)
from kd_keras.losses.attentional_pooling import (
    attentional_pooling as attentional_pooling,
)
from kd_keras.losses.direct import DirectLoss as DirectLoss
from kd_keras.losses.distillation import (
    AttentionalPoolingDistillation as AttentionalPoolingDistillation,
)
from kd_keras.losses.soft_label import SoftLabelLoss as SoftLabelLoss
from kd_keras.losses.soft_label import soft_label_divergence as soft_label_divergence
from kd_keras.losses.soft_label import soft_targets as soft_targets
