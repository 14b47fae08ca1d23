"""OpenVINO's intermediate representation: a graph, and its weights beside it."""

from collections.abc import Callable

import keras
import numpy as np

# Keras writes the file by its OpenVINO backend, which imports SciPy.
PACKAGES = {"openvino": "openvino==2026.4.1", "scipy": "scipy==1.17.1"}


def write(network: keras.Model, file: str) -> None:
    network.export(file, format="openvino", verbose=False)


def load(file: str) -> Callable[[np.ndarray], np.ndarray]:
    """Clips to probabilities (batch, classes), by OpenVINO on the CPU."""
    import openvino

    # It would round to bfloat16 on processors that are faster with it.
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(file, "CPU", precise)
    return lambda clips: compiled({"clip": clips})["probabilities"]
