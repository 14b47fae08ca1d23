"""Checks a written SavedModel in a fresh process, against the Keras model."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow as tf

from export import warm_up
from export.signatures import (
    ServedStudent,
    TwoStreams,
    functions_of,
    signatures_of,
)
from kd_keras import console
from kd_keras.models.plain_paths import plain_path

_CHECK_PROGRAM = pathlib.Path(__file__).with_name("check.py")
# Graphs are rearranged when served; layers in half precision then round elsewhere.
_TOLERANCE, _HALF_TOLERANCE = 1e-4, 1e-2
# TV-L1 ends an iteration by a sum, whose last digits depend on threads; a flow may then
# have another level here and there.
_FLOW_TOLERANCE, _COMPUTE_FLOW = 1e-2, ("serving_default", "encoded_frames")


class CheckFailedError(RuntimeError):
    """What was written does not do what the Keras model does."""


def check_in_fresh_process(
    student: ServedStudent | TwoStreams, folder: str | os.PathLike
) -> None:
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
            f"The exported student failed its check (status {process.returncode}): "
            f"{reason}"
        )


def expected_answers(student: ServedStudent | TwoStreams) -> dict[str, np.ndarray]:
    """Requests of several sizes and the Keras model's answers, as `check.py` reads."""
    expected = {
        "classes": np.array(student.spec.classes),
        "tolerance": _HALF_TOLERANCE if "16" in student.precision else _TOLERANCE,
    }
    if isinstance(student, TwoStreams):
        names = [f"tolerance.{name}" for name in _COMPUTE_FLOW]
        expected |= dict.fromkeys(names, _FLOW_TOLERANCE)
    if student.spec.are_actions:
        names = student.spec.classes
        expected["actions"] = np.array([name.split(" ") for name in names])
    # On the CPU, like the check: other devices multiply less precisely.
    with tf.device("CPU"):
        functions = functions_of(student) if isinstance(student, TwoStreams) else None
        for case, frames in enumerate(_several_frames(student)):
            answers = _answers(student, frames, functions)
            for name, module in signatures_of(student).items():
                key = f"{case}.{name}"
                for input_, value in module.example(student, frames).items():
                    expected[f"{key}.input.{input_}"] = value
                for output, value in answers[name].items():
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


def _answers(student, frames, functions):
    """What each signature has to give for the example of these frames."""
    modules = signatures_of(student)
    own = {
        name: module.answers(student, frames)
        for name, module in modules.items()
        if hasattr(module, "answers")
    }
    others = modules.keys() - own.keys()
    if functions is not None:
        # In a graph, as served: TV-L1 makes much of how a number is rounded.
        return own | {
            name: functions[name](
                **{
                    key: tf.constant(value)
                    for key, value in modules[name].example(student, frames).items()
                }
            )
            for name in others
        }
    # The network is asked once for all that anticipate.
    default = modules["serving_default"]
    inputs = default.example(student, frames).items()
    anticipation = default.serve(student, **{k: tf.constant(v) for k, v in inputs})
    return own | dict.fromkeys(others, anticipation)


def _several_frames(student):
    random = np.random.default_rng(0)
    num_frames, side, _, channels = student.clip_shape
    if student.spec.clip_format.modality == "features":
        for size in ((1, num_frames), (2, 2 * num_frames + 1), (8, num_frames + 1)):
            yield random.standard_normal((*size, *student.clip_shape[1:]), np.float32)
        return
    for shape, px in (
        ((1, num_frames, side, side), 1),
        ((2, 2 * num_frames + 1, side + side // 4, 2 * side), 1),
        ((8, num_frames + 1, 5, 7), 0),
    ):
        frames = _blocks(random, (*shape, channels))
        # TV-L1 takes long between frames that have nothing in common.
        yield _moving(frames, px) if isinstance(student, TwoStreams) else frames


def _blocks(random, shape, block_px=8):
    """Frames of random blocks, which excite a network more than noise of pixels."""
    batch, time, height, width, channels = shape
    coarse = (batch, time, -(-height // block_px), -(-width // block_px), channels)
    blocks = random.integers(0, 256, coarse, dtype=np.uint8)
    blocks = blocks.repeat(block_px, axis=2).repeat(block_px, axis=3)
    return blocks[:, :, :height, :width]


def _moving(frames, px):
    """The first frame of each clip, moving by some pixels from frame to frame."""
    moved = [np.roll(frames[:, 0], n * px, axis=2) for n in range(frames.shape[1])]
    return np.stack(moved, axis=1)
