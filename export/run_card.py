"""What an export says of itself, `run_card.json`, and beside it the model card.

The run directory that the student lies in tells of its training: flags, metrics and
counts. A student from elsewhere has a card without these.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import limits, model_card, student_file
from export.accuracy import AccuracyChange
from export.json_kinds import require_kinds
from export.signatures import ServedStudent, TwoStreams, signatures_of
from kd_keras.data.csv_table import decode_text

RUN_CARD = "assets/run_card.json"
MODEL_CARD = "assets/model_card.md"

# What results.json holds of a run that is too long for a card.
_LONG = ("confusion", "classes")
_EPIC = (
    "EPIC-KITCHENS is CC BY-NC 4.0: no commercial use, and what is derived from it, "
    "such as these weights, names the source."
)
_LICENSES = {
    "epic_kitchens": _EPIC,
    "epic_kitchens_100": _EPIC,
    "jhmdb": "J-HMDB is for research; see the terms at its home page before other use.",
    "thumos14": "THUMOS14 is for research; see the terms at its home page before other "
    "use.",
}
_NO_RESULTS = (
    "Expected the results of the student's run. If the file is of another program or "
    "damaged, move it or the student to another folder."
)
_OWN_DATA = "The terms of the videos that were trained on hold; the card knows none."
_RANGES = {
    "frames": "levels 0 to 255: red, green and blue, or the two components of flow",
    "frame": "levels 0 to 255, as in frames",
    "flow": "levels 0 to 255: the two components of flow",
    "window": "number of frames, 1 or more",
    "state_frames": "as init_state and step give them",
    "state_seen": "as init_state and step give them",
    "state_window": "as init_state and step give them",
    "encoded_frames": "JPEG or PNG files",
    "features": "finite numbers, as the network that extracted them gives them",
    "clip": "-1 to 1",
    "probabilities": "0 to 1; their sum is 1",
    "top_k_indices": "positions in classes",
    "top_k_probabilities": "0 to 1, in descending order",
    "top_k_classes": "UTF-8 names from classes",
    "top_k_verbs": "UTF-8 verbs of classes",
    "top_k_verb_probabilities": "0 to 1, in descending order",
    "top_k_nouns": "UTF-8 nouns of classes",
    "top_k_noun_probabilities": "0 to 1, in descending order",
    "lead_time_s": "seconds, 0 or more; NaN if they differ from clip to clip",
    "feature_map": "any",
    "pooled": "any",
    "clips": "any",
    "student_json": "UTF-8 text, the object of student.json",
}


def write(
    student: ServedStudent | TwoStreams,
    folder: pathlib.Path,
    name: str,
    version: int,
    student_files: Sequence[str | os.PathLike] = (),
    change: AccuracyChange | None = None,
) -> None:
    """Writes both cards into a written SavedModel; checksums are of what it holds.

    Args:
        student_files: One for each stream, or none.
        change: What a lower precision costs, if one was asked for.
    """
    card = _card(student, folder, name, version, student_files, change)
    card["limits"] = {
        "clips": limits.MAX_CLIPS,
        "frames": limits.MAX_FRAMES,
        "pixels": limits.MAX_PIXELS,
    }
    card["signatures"] = _signatures(student, folder)
    _write(card, folder / RUN_CARD, folder / MODEL_CARD)


def write_of_network(
    student: ServedStudent, folder: pathlib.Path, *arguments, **options
) -> None:
    """Writes both cards beside the network in another format; takes what `write` does.

    The one signature in the card is what its runtime takes.
    """
    takes_features = student.spec.clip_format.modality == "features"
    meaning = "features" if takes_features else "clip"
    card = _card(student, folder, *arguments, **options)
    probabilities = ("float32", [-1, len(student.spec.classes)])
    card["signatures"] = {
        "network": {
            "inputs": {"clip": _info(meaning, "float32", [-1, *student.clip_shape])},
            "outputs": {"probabilities": _info("probabilities", *probabilities)},
        }
    }
    files = (folder / pathlib.Path(each).name for each in (RUN_CARD, MODEL_CARD))
    _write(card, *files)


def read(version: str) -> dict[str, Any]:
    """What the card of an exported SavedModel holds; nothing if it has none.

    Raises:
        ValueError: If it is damaged.
    """
    path = f"{version}/{RUN_CARD}"
    if not tf.io.gfile.exists(path):
        return {}
    try:
        with tf.io.gfile.GFile(path) as file:
            card = json.load(file)
        if not isinstance(card, dict):
            raise ValueError(f"Expected an object. Got {card!r}.")
        return card
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _write(card, run_card, model_card_):
    run_card.parent.mkdir(exist_ok=True)
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False)
    run_card.write_text(text + "\n", "utf-8")
    model_card_.write_text(model_card.text_of(card), "utf-8")


def _card(student, folder, name, version, student_files, change=None):
    spec, streams = student.spec, student.streams
    runs = [_run(file) for file in student_files] or [_run(None)] * len(streams)
    run = runs[0] if len(streams) == 1 else _both(student, runs)
    return {
        "name": name,
        "version": version,
        "exported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "classes": list(spec.classes),
        "lead_time_s": spec.lead_time_s,
        "observed_s": spec.observed_s,
        "clip_format": spec.clip_format.to_stored(),
        "feature_layer": student.feature_layer,
        "network": " and ".join(one.model.name for one in streams),
        "num_parameters": sum(one.model.count_params() for one in streams),
        "batch_norm_folded": student.is_folded,
        "precision": student.precision if change is None else change.precision,
        "accuracy_change": change and dataclasses.asdict(change),
        "top_k": min(student.top_k, len(spec.classes)),
        "limits": None,
        "signatures": {},
        **run,
        "made_with": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "sha256": _checksums(folder, student_files),
    }


def _signatures(student, folder):
    content = (folder / "saved_model.pb").read_bytes()
    written = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    return {
        name: {
            "inputs": _described(written.signature_def[name].inputs),
            "outputs": _described(written.signature_def[name].outputs),
        }
        for name in signatures_of(student)
    }


def _described(infos):
    return {
        name: _info(
            name,
            tf.as_dtype(info.dtype).name,
            [dim.size for dim in info.tensor_shape.dim],
        )
        for name, info in sorted(infos.items())
    }


def _info(name, dtype, shape):
    return {"dtype": dtype, "shape": shape, "range": _RANGES[name]}


def _both(student, runs):
    """What `_run` gives, of two students that were never scored together."""
    notes = dict.fromkeys(run["license_note"] for run in runs)
    weights = student.weights
    return {
        **dict.fromkeys(("flags", "metrics", "data")),
        "license_note": " ".join(notes),
        "streams": {
            one.spec.clip_format.modality: {
                "weight": weight,
                "network": one.model.name,
                "clip_format": one.spec.clip_format.to_stored(),
                **run,
            }
            for one, weight, run in zip(student.streams, weights, runs, strict=True)
        },
    }


def _run(path):
    """Flags, metrics, counts and the license of the run that a student is of.

    `student` in the metrics are the scores of this student.
    """
    folder = None if path is None else student_file.run_directory(path)
    if folder is None:
        return dict.fromkeys(("flags", "metrics", "data")) | {"license_note": _OWN_DATA}
    results = _results(folder / "results.json")
    if "student" in results:
        results["student"] = _scores(results, pathlib.Path(path).absolute())
    flags = [line for line in _text(folder / "run.flags").splitlines() if line]
    dataset = [
        flag.partition("=")[2] for flag in flags if flag.startswith("--dataset=")
    ]
    return {
        "flags": flags,
        "metrics": {
            key: value
            for key, value in results.items()
            if key not in _LONG and key != "data" and not key.startswith("num_")
        },
        "data": {key: v for key, v in results.items() if key.startswith("num_")}
        | {"pairs": results.get("data")},
        "license_note": _LICENSES.get(dataset[-1] if dataset else None, _OWN_DATA),
    }


def _results(path):
    text = _text(path)
    try:
        # JSON has no NaN; Python writes one.
        results = json.loads(text, parse_constant=lambda _: None)
        require_kinds(
            {"results": results}, {"results": {"student": {}, "students": {}}}
        )
        scores = results.get("students", {}).items()
        students = {f"students.{name}": each for name, each in scores}
        require_kinds(students, {name: {} for name in students})
    except ValueError as error:
        said = str(error).rstrip(".")
        raise ValueError(f"{path}: {said}. {_NO_RESULTS}") from error
    return results


def _scores(results, path):
    """The scores of one network of a run; nothing if it is none that was evaluated."""
    if path.parent.name == "students":
        return results.get("students", {}).get(path.stem)
    return results["student"] if path.name == "student.keras" else None


def _text(path):
    return decode_text(path.read_bytes(), path) if path.is_file() else ""


def _checksums(folder, student_files):
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    sums = {name: _sha256(path) for name, path in files.items()}
    is_pair = len(student_files) == 2
    names = ("rgb.keras", "flow.keras") if is_pair else ("student.keras",)
    for name, file in zip(names, student_files, strict=False):
        if os.path.isfile(file):
            sums[name] = _sha256(file)
    return sums


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
