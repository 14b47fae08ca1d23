"""LiteRT, for phones and small devices; it was called TensorFlow Lite.

TensorFlow brings the converter and the interpreter along.
"""

import contextlib
import os
import re
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

PACKAGES = {}

# What the converter says of operations that LiteRT lacks.
_LACKING = re.compile(r"TF Select ops: (.*)")


def write(network: keras.Model, file: str, select_tf_ops: bool = False) -> None:
    """Writes the file.

    Args:
        select_tf_ops: Whether operations that LiteRT lacks may be TensorFlow's, which
            only an interpreter with the Flex delegate runs.
    Raises:
        ValueError: If LiteRT lacks operations, and they may not be TensorFlow's.
    """
    ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if select_tf_ops:
        ops.append(tf.lite.OpsSet.SELECT_TF_OPS)
    try:
        with _without_standard_error():
            network.export(
                file,
                format="litert",
                verbose=False,
                target_spec={"supported_ops": ops},
            )
    except Exception as error:  # The converter's own kind is not public.
        lacking = _LACKING.search(str(error))
        if lacking is None:
            raise
        raise ValueError(
            f"LiteRT cannot hold {network.name}: it has no {lacking[1].strip()}. Pass "
            "--select_tf_ops to keep such operations as TensorFlow's (Select TF ops); "
            "the program that runs the file then needs the Flex delegate. Or choose "
            "--format=onnx or openvino."
        ) from error


def load(file: str) -> Callable[[np.ndarray], np.ndarray]:
    """Clips to probabilities (batch, classes), by TensorFlow's interpreter."""
    runner = tf.lite.Interpreter(file).get_signature_runner()

    def answer(clips):
        try:
            return runner(clip=clips)["probabilities"]
        except RuntimeError as error:
            if "Flex delegate" not in str(error):
                raise
            raise ValueError(
                f"The interpreter of TensorFlow {tf.__version__} has no Flex delegate, "
                "so a file with --select_tf_ops cannot be checked. Export with "
                "TensorFlow 2.17, which requirements.txt gives Python 3.11 and 3.12, "
                "or choose --format=onnx or openvino."
            ) from error

    return answer


@contextlib.contextmanager
def _without_standard_error():
    """The converter writes there, a line for each operation, what it raises anyway."""
    shown = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(shown, 2)
        os.close(shown)
