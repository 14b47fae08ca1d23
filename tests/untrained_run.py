"""Runs whose networks never learned anything, for tests of what comes after it."""

import dataclasses
import json

from export.student_file import ExportSpec, save_student
from tests import small_run
from train import networks
from train import results as results_lib
from train.finished_run import FinishedRun
from train.run_directory import RunDirectory
from train.written import write_json, write_text

CLASSES = ["open", "shut"]


def save_teacher(experiment, path):
    """Saves a teacher of two classes, as a run saves the one that it trained."""
    network = networks.build_teacher(experiment.config, num_classes=2)
    results_lib.save(experiment, network, path)


def validated_alone(phase):
    """Stands in for `Phase.run`: takes no step, and logs what validation says."""
    scores = {f"val_{name}": score for name, score in phase.validate().items()}
    phase.directory.log(phase.name, 1, scores)


def write(folder, path, methods, *more):
    """Writes a data set and a finished run of it.

    Args:
        folder: Of the data set, in its folder `videos`.
        path: Of the run.
        methods: Of its students.
        more: Flags.
    Returns:
        The path of the run.
    """
    videos = small_run.write_data_set(folder / "videos")
    flags = (*small_run.SMALLEST_NETWORK, f"--students={','.join(methods)}", *more)
    config = small_run.config(videos, path, *flags)
    RunDirectory(config).begin()
    data, options = FinishedRun(path).data, config.data
    spec = ExportSpec(
        classes=data.index.classes,
        clip_format=data.loader.clip_format,
        observed_s=options.observed_s,
        lead_time_s=options.lead_time_s,
    )
    (path / "students").mkdir()
    for number, name in enumerate(("teacher", *(f"students/{m}" for m in methods))):
        run = dataclasses.replace(config.run, seed=number)
        model = networks.build_teacher(dataclasses.replace(config, run=run), 2)
        save_student(model, path / f"{name}.keras", spec)
    line = {"phase": "teacher", "step": 2, "loss": 0.7, "val_top1": 0.5}
    write_text(path / "metrics.jsonl", json.dumps(line) + "\n")
    times = [
        {"part": "teacher", "seconds": 6.0, "waiting_s": 1.0},
        {"part": "teacher", "seconds": 2.0, "waiting_s": 1.0},
        {"part": "evaluation", "seconds": 4.0},
    ]
    write_text(path / "times.jsonl", "".join(json.dumps(t) + "\n" for t in times))
    write_json(path / "results.json", results(CLASSES))
    return path


def results(classes):
    """Returns what the results.json of such a run has."""
    return {
        "classes": classes,
        "majority": {"top1": 0.5},
        "teacher": {"future": {"top1": 0.5}, "observed": {"top1": 0.25}},
        "best_student": "attention",
        "num_evaluated": 2,
        "num_classes": len(classes),
        "eval_part": "val",
        "num_train_labeled": 4,
        "num_train_unlabeled": 0,
    }
