"""The student as a SavedModel for TF Serving, checked before it gets its name."""

import functools
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import (
    checking,
    run_card,
    server_files,
    signatures,
    student_file,
    warm_up,
)
from export.accuracy import AccuracyChange
from export.signatures import ServedStudent, TwoStreams
from export.student_file import ExportSpec
from export.versions import free_number, written_aside
from kd_keras.data import remote

# Where SavedModels keep files that no server loads.
SPEC_FILE = "assets.extra/student.json"
TWO_STREAMS_FILE = "assets.extra/two_streams.json"

_GRAPH_FILE = "saved_model.pb"


def export_and_check(
    student: keras.Model,
    output_dir: str | os.PathLike,
    spec: ExportSpec,
    version: int | None = None,
    top_k: int = 5,
    source: str | os.PathLike | None = None,
    keep_versions: int | None = None,
    fold_batch_norm: bool = True,
) -> str:
    """Exports like `export_student`, but names the version only after a check.

    A fresh process without Keras loads it into a Session, as TF Serving does. Every
    signature must give the student's answers for three batch sizes and frame sizes.
    Beside the versions then lies what a server is started with; see `server_files`.

    Args:
        keep_versions: As many are left, the newest, the stable one and this one among
            them; None deletes none.
    Raises:
        CheckFailedError: If it does not; nothing is left in `output_dir` then.
    """
    served = ServedStudent(student, spec, top_k)
    sources = () if source is None else (source,)
    return export_served(
        served, output_dir, version, sources, keep_versions, fold_batch_norm
    )


def export_served(
    served: ServedStudent | TwoStreams,
    output_dir: str | os.PathLike,
    version: int | None = None,
    sources: Sequence[str | os.PathLike] = (),
    keep_versions: int | None = None,
    fold_batch_norm: bool = True,
    change: AccuracyChange | None = None,
) -> str:
    """Exports and checks one student or two streams, as `export_and_check` does.

    Of two streams, `assets.extra/two_streams.json` holds the specs of both students and
    the weights, beside the `student.json` that says how to feed them.

    Args:
        sources: The students' files, if any; their runs tell the cards of training.
        change: What its lower precision costs, for the cards.
    """
    check = functools.partial(checking.check_in_fresh_process, served)
    path = _export(served, output_dir, version, check, sources, fold_batch_norm, change)
    folder, number = os.path.split(path)
    server_files.publish(folder, keep_versions, written=int(number))
    return path


def export_student(
    student: keras.Model,
    output_dir: str | os.PathLike,
    spec: ExportSpec,
    version: int | None = None,
    top_k: int = 5,
    check: Callable[[pathlib.Path], None] | None = None,
    source: str | os.PathLike | None = None,
    fold_batch_norm: bool = True,
) -> str:
    """Writes `<output_dir>/<version>/` and returns that path.

    Each module of `export.signatures` is one signature. A request fails with a sentence
    that says why if it is empty, is beyond `export.limits`, or has other shapes or
    values. Nothing is compiled, and the weights are stored once. `assets.extra`
    holds the spec and requests to warm up with, `assets` what the student is.

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
        source: The student's file; its run tells the cards of training.
        fold_batch_norm: Whether BatchNorm becomes a part of the convolutions before it.
    Raises:
        ValueError: If the student does not fit the spec, or the version exists.
    """
    served = ServedStudent(student, spec, top_k)
    sources = () if source is None else (source,)
    return _export(served, output_dir, version, check, sources, fold_batch_norm)


def no_graph(version: str) -> ValueError:
    """The error of a version that TensorFlow finds no graph in."""
    return ValueError(
        f"{version}/{_GRAPH_FILE} is damaged, or of another program: it holds no graph "
        "with the tag serve. Export the student again."
    )


def num_channels(model: str) -> int:
    """The channels of the frames that an exported student takes, by its signature."""
    with tf.io.gfile.GFile(f"{model}/{_GRAPH_FILE}", "rb") as file:
        content = saved_model_pb2.SavedModel.FromString(file.read())
    frames = content.meta_graphs[0].signature_def["serving_default"].inputs["frames"]
    return frames.tensor_shape.dim[-1].size


def _export(served, output_dir, version, check, sources, fold_batch_norm, change=None):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "A SavedModel is made of TensorFlow operations. Set KERAS_BACKEND="
            f"tensorflow; it is {keras.backend.backend()}."
        )
    for one in served.streams:
        student_file.check_fits(one.model, one.spec)
    output = os.fspath(output_dir).rstrip("/")
    remote.require_file_system(output)
    version = free_number(output, version)
    with written_aside(output, version) as aside:
        if fold_batch_norm:
            served = served.folded()
        _write(served, aside)
        name = server_files.model_name(output)
        warm_up.write(served, name, aside / warm_up.WARM_UP_FILE)
        run_card.write(served, aside, name, version, sources, change)
        if check is not None:
            check(aside)
    return f"{output}/{version}"


def size_in_bytes(student: keras.Model) -> int:
    """Bytes that the weights take; the graph adds about a megabyte or two."""
    return sum(
        int(np.prod(variable.shape)) * tf.as_dtype(variable.dtype).size
        for variable in student.variables
    )


def _write(served, folder):
    module = tf.Module()
    # The variables and not the Keras model: that one would store each weight twice,
    # or fail to load into the Session of a server.
    module.variables_ = [
        variable.value for one in served.streams for variable in one.model.variables
    ]
    functions = signatures.functions_of(served)
    tf.saved_model.save(module, str(folder), signatures=functions)
    _tell_shapes_of_inputs(served, folder)
    (folder / SPEC_FILE).parent.mkdir()
    (folder / SPEC_FILE).write_text(student_file.to_json(served.spec), "utf-8")
    if isinstance(served, TwoStreams):
        rgb, flow = (
            json.loads(student_file.to_json(one.spec)) for one in served.streams
        )
        pair = {"rgb": rgb, "flow": flow, "weights": served.weights}
        text = json.dumps(pair, indent=2)
        (folder / TWO_STREAMS_FILE).write_text(text + "\n", "utf-8")


def read_spec(version: str) -> ExportSpec:
    """Reads the `ExportSpec` that an exported version is fed by.

    Raises:
        ValueError: If its file is damaged.
    """
    path = f"{version}/{SPEC_FILE}"
    try:
        with tf.io.gfile.GFile(path) as file:
            return student_file.from_json(file.read())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _tell_shapes_of_inputs(served, folder):
    """Writes into the signatures what the graph leaves open; clients learn it there."""
    file = pathlib.Path(folder, _GRAPH_FILE)
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for name, module in signatures.signatures_of(served).items():
        infos = content.meta_graphs[0].signature_def[name].inputs
        for key, spec in module.inputs(served).items():
            infos[key].tensor_shape.CopyFrom(spec.shape.as_proto())
    file.write_bytes(content.SerializeToString(deterministic=True))
    # It is of the file as it was, and optional.
    pathlib.Path(folder, "fingerprint.pb").unlink(missing_ok=True)
