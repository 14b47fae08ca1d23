"""Backbones as tables of named stages, their published weights, trained students.

Whatever is named here is imported when it is first used: a command first reads its
flags, and a backend takes seconds.
"""

import importlib

# The modules of the public names.
_HOMES = {
    "I3D": "i3d",
    "R2Plus1D": "r2plus1d",
    "TSM": "tsn",
    "TSN": "tsn",
    "TemporalConvolutions": "temporal",
    "build_backbone": "backbones",
    "default_feature_layer": "backbones",
    "load_backbone_weights": "backbones",
    "load_i3d_weights": "i3d_weights",
    "load_student": "student",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    # Found without this function from now on.
    globals()[name] = value = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
