"""The console commands of an installation, such as kd-keras-train.

Each runs the same module as `python -m` in a checkout.
"""

import os
import pathlib
import runpy
import sys

# Where setup.py puts the packages `train` and `export`. A checkout has no such folder:
# they lie beside kd_keras there.
_FOLDER = pathlib.Path(__file__).parent / "_commands"


def train():
    """Trains teacher and students, evaluates and exports: `python -m train.main`."""
    _run("train.main")


def prepare():
    """Prepares clips or features for training: `python -m train.prepare`."""
    _run("train.prepare")


def export():
    """Exports a student for TF Serving: `python -m export.main`."""
    _run("export.main")


def predict():
    """Anticipates along a video: `python -m export.predict`."""
    _run("export.predict")


def report():
    """Writes a page about finished runs: `python -m train.report`."""
    _run("train.report")


def _run(module):
    if _FOLDER.is_dir():
        sys.path.insert(0, str(_FOLDER))
        # Workers and checks in processes of their own need them too.
        paths = [str(_FOLDER), os.environ.get("PYTHONPATH")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
