"""ONNX, for ONNX Runtime, Triton and many others."""

from collections.abc import Callable

import keras
import numpy as np

# Newer ONNX needs a newer ml_dtypes than TensorFlow 2.17 takes.
PACKAGES = {
    "onnx": "onnx==1.18.0",
    "onnxruntime": "onnxruntime==1.32.0",
    "tf2onnx": "tf2onnx==1.17.0",
}


def write(network: keras.Model, file: str) -> None:
    # Without a signature, Keras wants the network to have been called before.
    network.export(file, format="onnx", verbose=False, input_signature=network.inputs)


def load(file: str) -> Callable[[np.ndarray], np.ndarray]:
    """Clips to probabilities (batch, classes), by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda clips: session.run(["probabilities"], {"clip": clips})[0]
