"""Checks a written SavedModel in a fresh process, against the Keras model."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

from export import warm_up
from export.signatures import ServedStudent, signatures_of
from export.signatures import frames as frames_signature
from kd_keras import console
from kd_keras.models.plain_paths import plain_path

_CHECK_PROGRAM = pathlib.Path(__file__).with_name("check.py")
# Graphs are rearranged when served; layers in half precision then round elsewhere.
_TOLERANCE, _HALF_TOLERANCE = 1e-4, 1e-2


class CheckFailedError(RuntimeError):
    """What was written does not do what the Keras model does."""


def check_in_fresh_process(student: ServedStudent, folder: str | os.PathLike) -> None:
    """Compares every signature with the Keras model, by `check.py`.

    Requests to warm up with are answered, too.

    Raises:
        CheckFailedError: If an answer differs, or the process dies.
    """
    with tempfile.TemporaryDirectory() as scratch, plain_path(folder) as plain:
        expected = os.path.join(scratch, "expected.npz")
        requests = expected_answers(student) | _warm_up_requests(folder)
        np.savez(expected, **requests)
        process = subprocess.run(
            # -P: the modules beside the program are not importable by it.
            [sys.executable, "-P", str(_CHECK_PROGRAM), plain, expected],
            # This process may hold the memory of every accelerator.
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
            capture_output=True,
            text=True,
        )
    if process.returncode != 0:
        # A crash, unlike a difference, leaves its reason among TensorFlow's messages.
        last_words = console.quieted(process.stderr).strip()[-2000:]
        reason = process.stdout.strip() or last_words
        raise CheckFailedError(
            f"The exported student failed its check and was removed (status "
            f"{process.returncode}): {reason}"
        )


def expected_answers(student: ServedStudent) -> dict[str, np.ndarray]:
    """Requests of several sizes and the Keras model's answers, as `check.py` reads."""
    half = any("16" in layer.compute_dtype for layer in student.model.layers)
    expected = {
        "classes": np.array(student.spec.classes),
        "tolerance": _HALF_TOLERANCE if half else _TOLERANCE,
    }
    if student.spec.are_actions:
        names = student.spec.classes
        expected["actions"] = np.array([name.split(" ") for name in names])
    # On the CPU, like the check: other devices multiply less precisely.
    with tf.device("CPU"):
        for case, frames in enumerate(_several_frames(student)):
            clips = frames_signature.clips_of(student, tf.constant(frames))
            answers = student.anticipate(clips)
            for name, module in signatures_of(student).items():
                own = getattr(module, "answers", None)
                outputs = answers if own is None else own(student, frames)
                key = f"{case}.{name}"
                for input_, value in module.example(student, frames).items():
                    expected[f"{key}.input.{input_}"] = value
                for output, value in outputs.items():
                    # The ranking is compared with the probabilities it comes with.
                    if not output.startswith("top_k"):
                        expected[f"{key}.output.{output}"] = np.asarray(value)
    return expected


def _warm_up_requests(folder):
    """Requests as above of which no answer is expected, only that there is one."""
    path = pathlib.Path(folder, warm_up.WARM_UP_FILE)
    return {
        f"warm_up_{number}.{name}.input.{key}": value.astype("S")
        if value.dtype == object
        else value
        for number, (name, inputs) in enumerate(warm_up.read(path))
        for key, value in inputs.items()
    }


def _several_frames(student):
    num_frames, side, _, channels = student.clip_shape
    random = np.random.default_rng(0)
    for shape in (
        (1, num_frames, side, side),
        (2, 2 * num_frames + 1, side + side // 4, 2 * side),
        (8, num_frames + 1, 5, 7),
    ):
        yield _blocks(random, (*shape, channels))


def _blocks(random, shape, block_px=8):
    """Frames of random blocks, which excite a network more than noise of pixels."""
    batch, time, height, width, channels = shape
    coarse = (batch, time, -(-height // block_px), -(-width // block_px), channels)
    blocks = random.integers(0, 256, coarse, dtype=np.uint8)
    blocks = blocks.repeat(block_px, axis=2).repeat(block_px, axis=3)
    return blocks[:, :, :height, :width]
