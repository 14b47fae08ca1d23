"""Knowledge distillation for human action anticipation.

Losses, models and the distiller run on every Keras backend. Whatever is named here is
imported when it is first used, so that annotations are read without waiting for a
backend.
"""

import importlib

from kd_keras import onednn

__version__ = "0.1.0"

# Public names by the module that has them.
_PUBLIC = {
    "kd_keras.distill.distiller": ("Distiller",),
    "kd_keras.losses": (
        "AttentionalPoolingDistillation",
        "AttentionalPoolingLoss",
        "DirectLoss",
        "SoftLabelLoss",
        "attentional_pooling",
    ),
    "kd_keras.models": (
        "I3D",
        "R2Plus1D",
        "TSM",
        "TSN",
        "TemporalConvolutions",
        "build_backbone",
        "load_backbone_weights",
        "load_i3d_weights",
        "load_student",
    ),
}
_HOMES = {name: home for home, names in _PUBLIC.items() for name in names}
_MODULES = (
    "data",
    "distill",
    "losses",
    "metrics",
    "models",
    "statistics",
    "training",
    "visualise",
)

# Before anything here imports TensorFlow.
onednn.choose()


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Found without this function from now on.
    globals()[name] = value = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
