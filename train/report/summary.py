"""What a run leaves for people: its input in pictures, its table, its curves."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from kd_keras import visualise
from kd_keras.data.batches.fields import FUTURE, LABEL, LABELED, OBSERVED
from train import epic_scores
from train.batches import normalizer, training_batches
from train.experiment import Experiment
from train.pictures import picture
from train.written import write_json

_NUM_SHOWN = 4

STUDENTS = {
    "no_teacher": "student, no teacher",
    "labels": "student, labels alone",
    "pseudo_labels": "student, pseudo-labels",
    "direct": "student, pseudo-labels + L_direct",
    "attention": "student, pseudo-labels + L_d",
}


def show_inputs(experiment: Experiment) -> None:
    """Draws some training pairs of clips, as the networks see them, to inputs.png."""
    data, classes = experiment.data, experiment.data.index.classes
    if data.loader.clip_format.modality == "features":
        # They are no pictures.
        return
    every = max(1, len(data.labeled) // _NUM_SHOWN)
    pairs = [*data.labeled[::every][:_NUM_SHOWN], *data.unlabeled[:1]]
    shown = training_batches(experiment, pairs).map(normalizer(experiment))
    examples = shown.unbatch().take(len(pairs))
    clips, titles = [], []
    for example in examples.as_numpy_iterator():
        labeled = example[LABELED]
        name = classes[example[LABEL]] if labeled else "unlabeled"
        for field in (OBSERVED, FUTURE):
            clips.append(example[field])
            titles.append(f"{field}: {name}")
    with picture(experiment.directory / "inputs.png") as aside:
        drawn = visualise.contact_sheet(clips, titles, aside)
        with experiment.directory.summary_writer("inputs").as_default(step=0):
            tf.summary.image("inputs", drawn[None])


def write(experiment: Experiment, results: Mapping[str, Any]) -> None:
    """Writes results.json, then the pictures; prints the table."""
    directory = experiment.directory
    write_json(directory / "results.json", results)
    phases = {record["phase"] for record in directory.history()}
    histories = {phase: directory.history(phase) for phase in sorted(phases)}
    pictures = {
        "curves.png": lambda path: visualise.curves(histories, path),
        "table.png": lambda path: visualise.table(table_rows(results), path),
    }
    if results["confusion"]:
        pictures["confusion.png"] = lambda path: visualise.confusion(
            results["confusion"], results["classes"], path
        )
    for name, draw in pictures.items():
        with picture(directory / name) as aside:
            draw(aside)
    print(_table(results))
    network = "student.keras" if "student" in results else "teacher.keras"
    print(f"Everything is in {directory}: results.json, {network}, ...")


def table_rows(results: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns the (name, top-1) rows of the table."""
    return [(name, scores["top1"]) for name, scores in _named(results).items()]


def _named(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The scores of references and networks, by what tables call them."""
    named = {"majority": results["majority"]}
    if "bigram" in results:
        named["bigram on the true last action"] = results["bigram"]
    for clip in ("future", "observed"):
        named[f"teacher, {clip} clip"] = results["teacher"][clip]
    for method, scores in results.get("students", {}).items():
        named[STUDENTS[method]] = scores
    return named


def _table(results: Mapping[str, Any]) -> str:
    named = _named(results)
    width = max(map(len, named))
    lines = [
        f"{results['num_evaluated']} clips of the {results['eval_part']} part, "
        f"{results['num_train_labeled']} labeled and {results['num_train_unlabeled']} "
        "unlabeled training pairs",
        f"{'':{width}}  top-1   loss",
    ]
    for name, scores in named.items():
        # References have no loss, and neither have results of an earlier version.
        loss = f"{scores['loss']:7.2f}" if "loss" in scores else ""
        lines.append(f"{name:{width}}  {100 * scores['top1']:5.1f}{loss}")
    if "student_choice" in results:
        lines.append(results["student_choice"]["text"])
    lines += epic_scores.lines(results.get("student", {}))
    return "\n".join(lines)
