"""The student that `--student` names, or the two, as signatures take them."""

import json
import os
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

import kd_keras
from export import precision, run_card, saved_model, student_file
from export.json_kinds import require_kinds
from export.signatures import ServedStudent, TwoStreams
from export.student_file import ExportSpec
from kd_keras.data import given_paths


def paths_of(student: str) -> list[str]:
    """The files of `--student`: one, or an RGB student's and a flow student's.

    Raises:
        ValueError: If there are more, or one is not named.
    """
    # A comma may also be part of a path.
    if "," not in student or os.path.exists(student):
        return [student]
    paths = student.split(",")
    if len(paths) != 2 or not all(paths):
        raise ValueError(
            f"--student takes one file, or two as RGB.keras,FLOW.keras. Got {student}."
        )
    for path in paths:
        if problem := given_paths.problem(path):
            raise ValueError(f"--student={student}: one path {problem}.")
    return [given_paths.expanded(path) for path in paths]


def load(
    paths: Sequence[str],
    spec_of: Callable[[str, keras.Model], ExportSpec],
    weights: Sequence[float] = (1.0, 1.0),
    top_k: int = 5,
) -> ServedStudent | TwoStreams:
    """Loads the files of `paths_of`.

    Args:
        spec_of: Gives the spec of a file and its model.
        weights: Of the logits, if there are two.
    Raises:
        ValueError: If a file is no student, or two do not belong together.
    """
    streams = []
    for path in paths:
        model = kd_keras.load_student(path)
        spec = spec_of(path, model)
        student_file.check_fits(model, spec)
        streams.append(ServedStudent(model, spec, top_k))
    return streams[0] if len(streams) == 1 else TwoStreams(*streams, tuple(weights))


def load_exported(student: str, version: str) -> ServedStudent | TwoStreams:
    """Loads the files of `--student` as they were exported.

    Args:
        version: Folder of the export.
    Raises:
        ValueError: As `load`; or it is an export of another number of students.
    """
    paths, (specs, weights) = paths_of(student), _exported(version)
    if len(paths) != len(specs):
        exported = "one student" if len(specs) == 1 else "RGB.keras,FLOW.keras"
        raise ValueError(f"{version} was made of {exported}. Got --student={student}.")
    of_path = dict(zip(paths, specs, strict=True))
    served = load(paths, lambda path, _: of_path[path], weights)
    card = run_card.read(version)
    # The student's own precision needs nothing done to it.
    if card.get("accuracy_change") is None:
        return served
    return precision.rounded_to_bfloat16(served, card["batch_norm_folded"])


def _exported(version):
    """The specs that the students of a version were exported with; their weights."""
    path = f"{version}/{saved_model.TWO_STREAMS_FILE}"
    if not tf.io.gfile.exists(path):
        return [saved_model.read_spec(version)], ()
    try:
        with tf.io.gfile.GFile(path) as file:
            return _pair(json.load(file))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _pair(values):
    if not isinstance(values, dict) or not {"rgb", "flow", "weights"} <= set(values):
        raise ValueError(
            f"Expected an object with rgb, flow and weights. Got {values!r}."
        )
    specs = [
        student_file.from_json(json.dumps(values[name])) for name in ("rgb", "flow")
    ]
    weights = values["weights"]
    if not isinstance(weights, list) or len(weights) != 2:
        raise ValueError(f"weights must be two numbers. Got {weights!r}.")
    named = {f"weights[{place}]": weight for place, weight in enumerate(weights)}
    require_kinds(named, dict.fromkeys(named, 1.0))
    return specs, tuple(weights)
