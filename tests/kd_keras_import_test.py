"""The package without TensorFlow: what imports, and on which Keras backends."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import kd_keras

NAMES = [
    "AttentionalPoolingDistillation",
    "AttentionalPoolingLoss",
    "DirectLoss",
    "Distiller",
    "I3D",
    "R2Plus1D",
    "SoftLabelLoss",
    "TSM",
    "TSN",
    "TemporalConvolutions",
    "attentional_pooling",
    "build_backbone",
    "load_backbone_weights",
    "load_i3d_weights",
    "load_student",
]

# Refuses TensorFlow to everybody, or, where Keras itself runs on it, to our modules.
_BLOCK = """
import builtins, sys
import keras
everybody = keras.backend.backend() != "tensorflow"
original = builtins.__import__

def guarded(name, globals=None, *rest):
    caller = (globals or {}).get("__name__", "")
    if name.partition(".")[0] in ("tensorflow", "tensorflow_hub", "tf_keras"):
        if everybody or caller.startswith("kd_keras"):
            raise ImportError(f"{caller} imports {name}")
    return original(name, globals, *rest)

builtins.__import__ = guarded
"""

_USE = """
import numpy as np
import kd_keras
maps = np.random.default_rng(0).uniform(size=(2, 1, 2, 2, 8)).astype("f4")
for loss in (kd_keras.AttentionalPoolingLoss(), kd_keras.DirectLoss()):
    assert float(loss(maps, maps[::-1].copy())) > 0
model = kd_keras.I3D(3, width=0.01, start="Mixed_5c")
print(*model(np.ones((2, 2, 1, 1, model.input.shape[-1]), "f4")).shape)
model.save_weights(sys.argv[1])
kd_keras.load_i3d_weights(model, sys.argv[1])
try:
    kd_keras.load_i3d_weights(model, "model.ckpt")
except ValueError as error:
    assert "needs TensorFlow" in str(error), error
else:
    raise SystemExit("read a checkpoint without TensorFlow")
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_losses_and_models_need_no_tensorflow(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    root = pathlib.Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _BLOCK + _USE, str(tmp_path / "tail.weights.h5")],
        cwd=root,
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "3"]


def test_names_what_the_package_gives():
    for name in NAMES:
        assert getattr(kd_keras, name).__module__.startswith("kd_keras.")
    assert kd_keras.losses.SoftLabelLoss is kd_keras.SoftLabelLoss
    assert {*NAMES, "losses", "__version__"} <= set(dir(kd_keras))


def test_annotations_are_read_without_a_backend():
    """Some 5 s and 500 MB less where no network is needed."""
    pytest.importorskip("cv2", reason="reading data needs OpenCV")
    code = """
import sys
import kd_keras
from kd_keras.data import pair_lists, pairs, unlabeled
from kd_keras.data.checks import flow, labels, lead_time, videos
from kd_keras.data.readers import csv_videos, epic_kitchens, flow_folders, jhmdb
from kd_keras.data.readers import epic_kitchens_100, thumos14
from kd_keras.data.records import data_set
print(*{"keras", "tensorflow", "jax", "torch"} & {*sys.modules})
"""
    root = pathlib.Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_the_distiller_is_imported_when_it_is_used():
    from kd_keras.distill import distiller

    assert kd_keras.Distiller is distiller.Distiller
    with pytest.raises(AttributeError, match="no attribute 'Distilller'"):
        _ = kd_keras.Distilller


def test_the_version_is_that_of_the_distribution():
    import tomllib

    project = pathlib.Path(__file__).resolve().parents[1] / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"]
    assert kd_keras.__version__ == version
