"""The student as a SavedModel for TF Serving, checked before it gets its name."""

import contextlib
import functools
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import preprocess, student_file
from export.student_file import ExportSpec
from kd_keras import console
from kd_keras.aside import written_aside
from kd_keras.data import remote
from kd_keras.models.outputs import as_probabilities
from kd_keras.models.plain_paths import plain_path

# Where SavedModels keep files that no server loads.
SPEC_FILE = "assets.extra/student.json"

_GRAPH_FILE = "saved_model.pb"
_CHECK_PROGRAM = pathlib.Path(__file__).with_name("check.py")
# Graphs are rearranged when served; layers in half precision then round elsewhere.
_TOLERANCE, _HALF_TOLERANCE = 1e-4, 1e-2


class CheckFailedError(RuntimeError):
    """What was written does not do what the Keras model does."""


def export_and_check(
    student: keras.Model,
    output_dir: str | os.PathLike,
    spec: ExportSpec,
    version: int | None = None,
    top_k: int = 5,
) -> str:
    """Exports like `export_student`, but names the version only after a check.

    A fresh process without Keras loads it into a Session, as TF Serving does, and
    must give the student's probabilities for two batch sizes and two frame sizes.

    Raises:
        CheckFailedError: If it does not; nothing is left in `output_dir` then.
    """
    check = functools.partial(_check_in_fresh_process, student, spec)
    return export_student(student, output_dir, spec, version, top_k, check)


def export_student(
    student: keras.Model,
    output_dir: str | os.PathLike,
    spec: ExportSpec,
    version: int | None = None,
    top_k: int = 5,
    check: Callable[[pathlib.Path], None] | None = None,
) -> str:
    """Writes `<output_dir>/<version>/` and returns that path.

    The signature `serving_default` takes `frames`, uint8 (batch, time, height, width,
    channels) of any batch, time, height and width; `preprocess.py` says what becomes of
    them. Frames of another shape fail with a sentence that says so, and an empty batch
    does, too. It gives `probabilities` (batch, classes), and `top_k_indices`,
    `top_k_probabilities` and `top_k_classes` (batch, k). Nothing in it is compiled.
    `assets.extra/student.json` holds the spec.

    The folder is written under a hidden name and renamed at the end: a server that
    watches `output_dir` never sees a part of it. On remote file systems, which cannot
    rename folders, saved_model.pb is copied last.

    Args:
        student: Maps clips to logits, or ends in a softmax and is taken as it is. One
            that was trained under a distribution strategy must be loaded anew from its
            file.
        version: Number of the folder; None takes the next free one.
        top_k: At most as many classes are ranked.
        check: Called with the written folder before it gets its name; what it raises
            leaves nothing behind.
    Raises:
        ValueError: If the student does not fit the spec, or the version exists.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "A SavedModel is made of TensorFlow operations. Set KERAS_BACKEND="
            f"tensorflow; it is {keras.backend.backend()}."
        )
    student_file.check_fits(student, spec)
    output = os.fspath(output_dir).rstrip("/")
    remote.require_file_system(output)
    version = next_version(output) if version is None else version
    if tf.io.gfile.exists(f"{output}/{version}"):
        raise ValueError(f"{output}/{version} exists and is never overwritten.")
    with _written_aside(output, version) as aside:
        _write(student, spec, top_k, aside)
        if check is not None:
            check(aside)
    return f"{output}/{version}"


def next_version(output_dir: str | os.PathLike) -> int:
    """The number after the highest version in `output_dir`, 1 for the first."""
    return max(versions(output_dir), default=0) + 1


def versions(output_dir: str | os.PathLike) -> list[int]:
    """The versions in `output_dir`, in order; none if it does not exist."""
    output = os.fspath(output_dir)
    if not tf.io.gfile.isdir(output):
        return []
    # Listings of remote file systems end folders in a slash.
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(output)]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def num_channels(model: str) -> int:
    """The channels of the frames that an exported student takes, by its signature."""
    with tf.io.gfile.GFile(f"{model}/{_GRAPH_FILE}", "rb") as file:
        content = saved_model_pb2.SavedModel.FromString(file.read())
    return _frames_of(content).tensor_shape.dim[-1].size


def size_in_bytes(student: keras.Model) -> int:
    """Bytes that the weights take; the graph adds about a megabyte or two."""
    return sum(
        int(np.prod(variable.shape)) * tf.as_dtype(variable.dtype).size
        for variable in student.variables
    )


@contextlib.contextmanager
def _written_aside(output: str, version: int) -> Iterator[pathlib.Path]:
    """Gives a folder to write into, which becomes <output>/<version> at the end."""
    target = f"{output}/{version}"
    if remote.is_remote(output):
        with tempfile.TemporaryDirectory() as folder:
            yield pathlib.Path(folder, str(version))
            _copy(pathlib.Path(folder, str(version)), target)
        return
    os.makedirs(output, exist_ok=True)
    # Fails if another export has taken the number meanwhile.
    with written_aside(target) as aside:
        yield aside


def _copy(folder: pathlib.Path, target: str) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    try:
        for path in sorted(files, key=lambda path: path.name == "saved_model.pb"):
            copy = f"{target}/{path.relative_to(folder).as_posix()}"
            tf.io.gfile.makedirs(os.path.dirname(copy))
            tf.io.gfile.copy(str(path), copy)
    except BaseException:
        if tf.io.gfile.exists(target):
            tf.io.gfile.rmtree(target)
        raise


def _write(student, spec, top_k, folder):
    module = tf.Module()
    # The variables and not the Keras model: that one would store each weight twice,
    # or fail to load into the Session of a server.
    module.variables_ = [variable.value for variable in student.variables]
    serve = _serving_function(student, spec, top_k).get_concrete_function()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})
    _tell_shape_of_frames(folder, student.input_shape[-1])
    (folder / SPEC_FILE).parent.mkdir()
    (folder / SPEC_FILE).write_text(student_file.to_json(spec))


def _tell_shape_of_frames(folder, channels):
    """Writes into the signature what the graph leaves open.

    A client learns the shape from it. In the graph TensorFlow would refuse other frames
    by itself, in words that do not say what was expected.
    """
    file = pathlib.Path(folder, _GRAPH_FILE)
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    shape = tf.TensorShape((None,) * 4 + (channels,))
    _frames_of(content).tensor_shape.CopyFrom(shape.as_proto())
    file.write_bytes(content.SerializeToString(deterministic=True))
    # It is of the file as it was, and optional.
    pathlib.Path(folder, "fingerprint.pb").unlink(missing_ok=True)


def _frames_of(content):
    return content.meta_graphs[0].signature_def["serving_default"].inputs["frames"]


def _serving_function(student, spec, top_k):
    frames = tf.TensorSpec(None, tf.uint8, "frames")
    network = as_probabilities(student, student_file.clip_shape_of(student, spec))

    @tf.function(input_signature=[frames], autograph=False)
    def serving_default(frames):
        probabilities = _probabilities(network, spec, frames)
        best, indices = tf.math.top_k(probabilities, min(top_k, len(spec.classes)))
        return {
            "probabilities": probabilities,
            "top_k_indices": indices,
            "top_k_probabilities": best,
            "top_k_classes": tf.gather(tf.constant(spec.classes), indices),
        }

    return serving_default


def _probabilities(network, spec, frames):
    channels = network.input_shape[-1]
    clips = preprocess.prepare_frames(frames, spec.clip_format, channels)
    return network(clips, training=False)


def _check_in_fresh_process(student, spec, folder):
    with tempfile.TemporaryDirectory() as scratch, plain_path(folder) as plain:
        expected = os.path.join(scratch, "expected.npz")
        np.savez(expected, **_expected_outputs(student, spec))
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


def _expected_outputs(student, spec):
    side, num_frames = spec.clip_format.image_size, spec.clip_format.num_frames
    cases = (
        (1, num_frames, side, side),
        (2, 2 * num_frames + 1, side + side // 4, 2 * side),
    )
    network = as_probabilities(student, student_file.clip_shape_of(student, spec))
    half = any("16" in layer.compute_dtype for layer in student.layers)
    expected = {
        "classes": np.array(spec.classes),
        "tolerance": _HALF_TOLERANCE if half else _TOLERANCE,
    }
    random = np.random.default_rng(0)
    # On the CPU, like the check: other devices multiply less precisely.
    with tf.device("CPU"):
        for case, shape in enumerate(cases):
            frames = _blocks(random, (*shape, student.input_shape[-1]))
            expected[f"frames_{case}"] = frames
            expected[f"probabilities_{case}"] = _probabilities(
                network, spec, tf.constant(frames)
            ).numpy()
    return expected


def _blocks(random, shape, block_px=8):
    """Frames of random blocks, which excite a network more than noise of pixels."""
    batch, time, height, width, channels = shape
    coarse = (batch, time, -(-height // block_px), -(-width // block_px), channels)
    blocks = random.integers(0, 256, coarse, dtype=np.uint8)
    blocks = blocks.repeat(block_px, axis=2).repeat(block_px, axis=3)
    return blocks[:, :, :height, :width]
