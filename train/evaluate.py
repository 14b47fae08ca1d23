"""Scores the networks of a run on its evaluated pairs, and chooses a student."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kd_keras.data.batches.fields import FUTURE, OBSERVED
from kd_keras.data.pairs import labels_of, previous_labels
from kd_keras.data.parallel import progress_bar
from kd_keras.data.segments import Pair
from kd_keras.metrics import (
    bigram,
    classification_scores,
    confusion_matrix,
)
from train import choice, epic_scores, predictions
from train.data import RunData
from train.evaluator import Evaluator, Logits, Question, scores_of
from train.experiment import Experiment
from train.loop import guards
from train.loop.distribution import Distribution
from train.test_time_crops import Crops, crops_of

# EPIC-KITCHENS has thousands of actions, and a matrix has the square of that.
_MOST_CLASSES_CONFUSED = 500


def evaluate(
    experiment: Experiment, teacher: keras.Model, students: Mapping[str, keras.Model]
) -> dict[str, Any]:
    """Returns the results of a run's networks, ready for results.json.

    It leaves what they said of each clip in predictions.npz.

    Args:
        experiment: The `Experiment`.
        teacher: The trained teacher.
        students: Trained students by method.
    """
    data, crops = experiment.data, crops_of(experiment.config.augmentation)
    evaluator = _with_bar(experiment, len(students), crops)
    epic = epic_scores.scorer(experiment.config.data, data.index.classes)
    predictor = evaluator.predictor(teacher, crops)
    asked_students = {
        predictions.of_student(method): (evaluator.predictor(student, crops), OBSERVED)
        for method, student in students.items()
    }
    indices, logits = evaluator.ask(
        {
            predictions.TEACHER_FUTURE: (predictor, FUTURE),
            predictions.TEACHER_OBSERVED: (predictor, OBSERVED),
            **asked_students,
        }
    )
    pairs = [data.evaluated[index] for index in indices]
    labels = np.array(labels_of(pairs))
    future = logits[predictions.TEACHER_FUTURE]
    observed = logits[predictions.TEACHER_OBSERVED]
    results: dict[str, Any] = {
        "majority": {"top1": majority(labels_of(data.labeled), labels)},
        "teacher": {
            "future": _all_scores(pairs, future, epic),
            "observed": _all_scores(pairs, observed, epic),
        },
    }
    after_last = bigram_top1(data.labeled, pairs)
    if after_last is not None:
        results["bigram"] = {"top1": after_last}
    shown, scores = {"teacher": future.mean}, {}
    for method in students:
        own = logits[predictions.of_student(method)]
        agreement = np.mean(own.mean.argmax(1) == future.mean.argmax(1))
        scores[method] = _all_scores(pairs, own, epic) | {"agreement": float(agreement)}
        shown[method] = own.mean
    if experiment.distribution.is_chief:
        means = {name: own.mean for name, own in logits.items()}
        predictions.write(
            experiment.directory / predictions.FILE,
            predictions.of_pairs(data.index, pairs, means),
        )
        guards.warn_of_lead(
            results["teacher"]["future"]["top1"],
            {method: found["top1"] for method, found in scores.items()},
        )
    if students:
        chosen = _choose(data, evaluator, asked_students, scores, len(pairs), epic)
        results |= {
            "student": scores[chosen.method],
            "best_student": chosen.method,
            "student_choice": dataclasses.asdict(chosen) | {"text": str(chosen)},
            "students": scores,
        }
    return results | {
        "num_train_labeled": len(data.labeled),
        "num_train_at_action": len(data.action_pairs),
        "num_train_unlabeled": len(data.unlabeled),
        "num_evaluated": len(pairs),
        "num_classes": len(data.index.classes),
        "eval_part": data.eval_part,
        "classes": list(data.index.classes),
        "confusion": confusion(shown, labels),
        "data": data.summary,
        "bad_videos": bad_videos(data, experiment.distribution),
    }


def _with_bar(experiment: Experiment, num_students: int, crops: Crops) -> Evaluator:
    """The evaluator of a run, with a progress bar of all clips that `evaluate` sees."""
    data, evaluator = experiment.data, experiment.evaluator
    # The teacher sees observed and future clips.
    total = evaluator.num_clips * (2 + num_students)
    if apart := _choosing_apart(data):
        total += evaluator.over(apart).num_clips * num_students
    shows = experiment.distribution.is_chief
    if shows:
        print(f"evaluation: {total:,} clips; crops of each: {len(crops)}", flush=True)
    return evaluator.counted_by(progress_bar(total, "clip", shows))


def _choose(
    data: RunData,
    evaluator: Evaluator,
    asked_students: Mapping[str, Question],
    scores: Mapping[str, dict[str, Any]],
    num_evaluated: int,
    epic: epic_scores.Scorer,
) -> choice.Choice:
    """The `Choice` among students, by scores on the pairs that choose."""
    if not data.choosing:
        return choice.choose(None, scores, 0)
    apart = _choosing_apart(data)
    if not apart:
        return choice.choose(data.choosing_part, scores, num_evaluated, True)
    indices, logits = evaluator.over(apart).ask(asked_students)
    pairs = [apart[index] for index in indices]
    by_others = {
        method: _all_scores(pairs, logits[predictions.of_student(method)], epic)
        for method in scores
    }
    return choice.choose(data.choosing_part, by_others, len(pairs))


def _choosing_apart(data: RunData) -> Sequence[Pair]:
    """The pairs that choose among students; none if they are the evaluated ones."""
    return () if data.choosing_part == data.eval_part else data.choosing


def confusion(
    logits_by_name: Mapping[str, np.ndarray], labels: np.ndarray
) -> dict[str, list]:
    """Returns the confusion matrices; none of more classes than a picture can show."""
    return {
        name: confusion_matrix(labels, logits).tolist()
        for name, logits in logits_by_name.items()
        if logits.shape[1] <= _MOST_CLASSES_CONFUSED
    }


def majority(training_labels: Sequence[int], labels: np.ndarray) -> float:
    """Returns the top-1 of always saying the most frequent training class."""
    return float(np.mean(labels == np.bincount(training_labels).argmax()))


def bigram_top1(training_pairs: Sequence[Pair], pairs: Sequence[Pair]) -> float | None:
    """Returns the top-1 of guessing by the true label of the last action.

    It is None if no evaluated action has another one before it.
    """
    previous = previous_labels(pairs)
    if all(label is None for label in previous):
        return None
    training_labels = labels_of(training_pairs)
    guesses = bigram(previous_labels(training_pairs), training_labels, previous)
    return float(np.mean([a == p.label for a, p in zip(guesses, pairs, strict=True)]))


def bad_videos(data: RunData, distribution: Distribution) -> dict[str, Any]:
    """Returns the number, names and reasons of the videos that were skipped.

    Args:
        data: The run's `RunData`.
        distribution: Whose workers read them.
    """
    reasons = data.index.bad_videos | data.loader.bad_videos
    names = list(data.index.videos)
    own = np.array([name in data.loader.bad_videos for name in names], np.int32)
    by_worker = distribution.gather(own).reshape(-1, len(names))
    for name in np.array(names)[by_worker.any(0)].tolist():
        reasons.setdefault(name, "another worker could not read it; its log says why")
    return {"count": len(reasons), "reasons": reasons}


def _all_scores(
    pairs: Sequence[Pair], logits: Logits, epic: epic_scores.Scorer
) -> dict[str, Any]:
    """The scores over all crops, and top-1 of the central one."""
    labels = np.array(labels_of(pairs))
    central = classification_scores(labels, logits.center)["top1"]
    return (
        scores_of(labels, logits.mean)
        | epic(pairs, logits.mean)
        | {"one_view_top1": central}
    )
