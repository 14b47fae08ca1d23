"""Prints what top-1 does not say of finished runs of the same clips.

python -m docs.score_confidence runs/seed-0 runs/seed-1 ...

The runs have the students of configs/demo.flags. The rows of three tables are means
over runs: the calibration of each network and how often it agrees with the teacher,
how often the teacher is right if it is confident, and top-1 by class. The last column
is the gain of L_d over labels alone, with the 95 % bootstrap interval over runs and
videos.
"""

import json
import pathlib
import sys

import numpy as np

from kd_keras.statistics import mean_interval, pseudo_label_quality, softmax
from train import data_set
from train import predictions as predictions_lib
from train.predictions import TEACHER_FUTURE, of_student
from train.report import scores
from train.table.files import range_text

_COMPARED = TEACHER_FUTURE, *map(of_student, ("labels", "pseudo_labels", "attention"))


def main(runs):
    found = [
        predictions_lib.read(pathlib.Path(run) / predictions_lib.FILE) for run in runs
    ]
    described = (pathlib.Path(runs[0]) / data_set.FILE).read_text(encoding="utf-8")
    _print_calibration(found)
    _print_pseudo_labels(found)
    _print_classes(found, json.loads(described)["classes"])


def _print_calibration(runs):
    rows = [scores.rows(run) for run in runs]
    _print("network", "ECE", "ECE, scaled", "temperature", "agreement")
    for name, first in rows[0].items():
        same = [of_run[name] for of_run in rows]
        ece = np.mean([100 * row.ece for row in same])
        scaled = np.mean([100 * row.scaled_ece for row in same])
        temperature = np.mean([row.temperature for row in same])
        agreement = ""
        if first.agreement is not None:
            agreement = f"{np.mean([100 * row.agreement for row in same]):.1f}"
        cells = f"{ece:.1f}", f"{scaled:.1f}", f"{temperature:.2f}"
        _print(first.title, *cells, agreement)


def _print_pseudo_labels(runs):
    labels = np.concatenate([run.labels for run in runs])
    logits = np.concatenate([run.logits[TEACHER_FUTURE] for run in runs])
    quality = pseudo_label_quality(labels, softmax(logits))["by_confidence"]
    _print("", *(f"{row['at_least']:g}" for row in quality))
    for key in ("fraction", "accuracy"):
        _print(key, *(f"{100 * (row[key] or 0):.1f}" for row in quality))


def _print_classes(runs, classes):
    labels, clusters = runs[0].labels, runs[0].clusters
    hits = {
        name: 100 * np.stack([run.hits(name) for run in runs]) for name in _COMPARED
    }
    gains = hits[of_student("attention")] - hits[of_student("labels")]
    _print("class", *map(scores.title, _COMPARED), "gain")
    for label, title in enumerate(classes):
        own = labels == label
        gain = mean_interval(gains[:, own], clusters[own])
        means = [f"{rows[:, own].mean():.1f}" for rows in hits.values()]
        _print(title, *means, f"{gain.mean:+.1f} ({range_text(gain)})")


def _print(first, *cells):
    print(f"| {' | '.join([first, *cells])} |")


if __name__ == "__main__":
    main(sys.argv[1:])
