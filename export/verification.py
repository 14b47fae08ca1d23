"""Checks a version that is served, with what a server has and no Python gives it.

Every warm-up record is answered in a TensorFlow Session, and by a C program. The two
have to agree, and with the Keras model if its file is given.
"""

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from export import (
    exported_student,
    given_students,
    saved_model,
    versions,
    warm_up,
    without_python,
)
from export.checking import CheckFailedError, check_in_fresh_process
from export.served_model import INTERNAL
from kd_keras.models.plain_paths import plain_path

NOT_COVERED = (
    "Not covered, because they are parts of TF Serving itself: its JSON parser, its "
    "scheduler of batches, its polling for versions, and its metrics."
)


@dataclasses.dataclass(frozen=True)
class _Record:
    """One request: arrays by the names of a signature's inputs."""

    signature: str
    inputs: Mapping[str, np.ndarray]


# Of two programs with the same operations: threads add numbers in another order.
_TOLERANCE = 1e-5


def verify(model: str, student: str | None = None, report=print) -> None:
    """Checks the version and reports a line about each part.

    Args:
        model: Folder of a served model (its newest version), or a version.
        student: The file that was exported, with its .json beside it; or the two, as
            RGB.keras,FLOW.keras.

    Raises:
        ValueError, OSError: If something given cannot be used.
        CheckFailedError: If an answer is wrong, or none comes.
    """
    folder = exported_student.newest(os.fspath(model).rstrip("/"))
    report(f"{folder}:")
    if warning := versions.pattern_warning(folder):
        report(f"  {warning}")
    with plain_path(folder) as plain:
        session, signatures = load_session(plain)
        with contextlib.closing(session):
            report(f"  a Session loads it; its signatures are {sorted(signatures)}")
            records = _records(folder, signatures, report)
            answers = [_answer(session, signatures, record) for record in records]
        for name in signatures:
            count = sum(record.signature == name for record in records)
            report(f"  {name}: {count} requests answered")
        _compare_without_python(plain, signatures, records, answers, report)
    if student is not None:
        served = given_students.load_exported(student, folder)
        check_in_fresh_process(served, folder)
        report(f"  {student} gives the same answers")
    report(NOT_COVERED)


def load_session(folder, config=None):
    """A Session of a version, as TF Serving has it, and its signatures by name."""
    with tf.Graph().as_default() as graph, _without_advice():
        session = tf.compat.v1.Session(graph=graph, config=config)
        try:
            loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
        except RuntimeError as error:
            raise saved_model.no_graph(folder) from error
    names = [name for name in loaded.signature_def if not name.startswith(INTERNAL)]
    return session, {name: loaded.signature_def[name] for name in names}


@contextlib.contextmanager
def _without_advice():
    """TensorFlow calls its Session loader deprecated; it is what TF Serving uses."""

    def is_other(record):
        return "loader_impl" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _records(folder, signatures, report):
    """The warm-up records, and a made-up request for each signature without one."""
    records = _warm_up_records(folder)
    report(f"  {len(records)} warm-up records" if records else "  no warm-up records")
    unknown = {record.signature for record in records} - set(signatures)
    if unknown:
        raise _failed(f"warm-up records ask for {sorted(unknown)}, which is missing")
    covered = {record.signature for record in records}
    for name in sorted(set(signatures) - covered):
        inputs = {
            key: _made_up(info) for key, info in sorted(signatures[name].inputs.items())
        }
        records.append(_Record(name, inputs))
    return records


def _warm_up_records(folder):
    path = os.path.join(folder, warm_up.WARM_UP_FILE)
    if not tf.io.gfile.exists(path):
        return []
    try:
        return [_Record(*record) for record in warm_up.read(path)]
    except (tf.errors.DataLossError, DecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _made_up(info):
    """Two examples of an input, of a signature's type and shape."""
    dims = [dim.size for dim in info.tensor_shape.dim]
    # Free are the batch, the time, and the size of pictures.
    free = iter((2, 9, 40, 48))
    shape = [next(free) if size < 0 else size for size in dims]
    random, dtype = np.random.default_rng(0), tf.as_dtype(info.dtype)
    if dtype == tf.string:
        picture = tf.io.encode_jpeg(random.integers(0, 256, (40, 48, 3), np.uint8))
        return np.full(shape, picture.numpy(), dtype=object)
    if dtype == tf.uint8:
        return random.integers(0, 256, shape, np.uint8)
    if dtype.is_floating:
        return random.uniform(-1, 1, shape).astype(dtype.as_numpy_dtype)
    return np.ones(shape, dtype.as_numpy_dtype)


def _answer(session, signatures, record):
    signature = signatures[record.signature]
    fetches = {name: info.name for name, info in sorted(signature.outputs.items())}
    try:
        found = session.run(fetches, _feeds(signature, record))
    except (tf.errors.OpError, KeyError, TypeError, ValueError) as error:
        raise _failed(f"{record.signature} answers no request: {error}") from error
    batches = {len(value) for value in record.inputs.values()}
    for name, value in found.items():
        if batches != {len(value)}:
            raise _failed(
                f"{record.signature}: {name} must have one row for each of "
                f"{sorted(batches)}. Got the shape {value.shape}"
            )
    return found


def _feeds(signature, record):
    return {signature.inputs[name].name: value for name, value in record.inputs.items()}


def _compare_without_python(folder, signatures, records, answers, report):
    if reason := without_python.missing():
        report(f"  not checked without Python: {reason}")
        return
    requests = [
        (
            _feeds(signatures[record.signature], record),
            [signatures[record.signature].outputs[name].name for name in answer],
        )
        for record, answer in zip(records, answers, strict=True)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        program = without_python.compile_program(scratch)
        found = without_python.ask(program, folder, requests)
    for record, answer, others in zip(records, answers, found, strict=True):
        for (name, value), other in zip(answer.items(), others, strict=True):
            if not _agree(value, other):
                raise _failed(
                    f"{record.signature}: {name} is another one without Python"
                )
    report("  a C program without Python gives the same answers")


def _agree(one, other):
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.kind not in "fc":
        return np.array_equal(one, other)
    return np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)


def _failed(what):
    return CheckFailedError(f"{what}.")
