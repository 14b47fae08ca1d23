"""Evaluates networks on pairs: every pair once, observed or future clip."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kd_keras.data.batches import from_clips
from kd_keras.data.batches.fields import FUTURE, INDEX, OBSERVED
from kd_keras.data.clips.loader import ClipReader
from kd_keras.data.pairs import labels_of, previous_labels
from kd_keras.data.parallel import progress_bar
from kd_keras.data.segments import Pair
from kd_keras.metrics import (
    bigram,
    classification_scores,
    confusion_matrix,
    log_losses,
)
from train import choice, epic_scores, predictions
from train.data import RunData
from train.flags.config import Config
from train.loop import guards
from train.loop.distribution import Distribution
from train.test_time_crops import Crops, MultiCropPredictor, crops_of

if TYPE_CHECKING:
    from train.experiment import Experiment

# EPIC-KITCHENS has thousands of actions, and a matrix has the square of that.
_MOST_CLASSES_CONFUSED = 500


# The predictor of a network, and the clip that it sees: `observed` or `future`.
Question: TypeAlias = tuple[MultiCropPredictor, str]


@dataclasses.dataclass(frozen=True)
class Logits:
    """What a network says of clips.

    Attributes:
        mean: Over the test-time crops (clips, classes).
        center: Of the central crop (clips, classes).
    """

    mean: np.ndarray
    center: np.ndarray


class Evaluator:
    """Logits of networks for labeled pairs, computed by all replicas of a run together.

    Args:
        pairs: Labeled pairs.
        loader: Reads their clips.
        batch_size: Clips per step.
        num_classes: Logits per clip.
        distribution: The `Distribution` that computes them.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        loader: ClipReader,
        batch_size: int,
        num_classes: int,
        distribution: Distribution,
    ) -> None:
        self._pairs, self._loader, self._batch_size = pairs, loader, batch_size
        self._num_classes, self._distribution = num_classes, distribution
        self._predictors: dict[tuple, MultiCropPredictor] = {}
        self._bar: keras.utils.Progbar | None = None

    def over(self, pairs: Sequence[Pair]) -> "Evaluator":
        """Returns the evaluator of other pairs, with the same compiled predictors."""
        other = copy.copy(self)
        other._pairs = pairs
        return other

    def counted_by(self, bar: keras.utils.Progbar) -> "Evaluator":
        """Returns the same evaluator, whose clips count on a progress bar."""
        other = copy.copy(self)
        other._bar = bar
        return other

    @property
    def num_clips(self) -> int:
        """Clips that this worker looks at for one network."""
        return len(self._own_pairs)

    @property
    def _own_pairs(self) -> Sequence[Pair]:
        return self._pairs[self._distribution.worker :: self._distribution.num_workers]

    def predictor(
        self,
        model: keras.Model,
        crops: Crops = Crops(),  # noqa: B008 - frozen
    ) -> MultiCropPredictor:
        """Returns the `MultiCropPredictor` of a model; it is compiled once."""
        key = id(model), crops
        if key not in self._predictors:
            self._predictors[key] = MultiCropPredictor(model, crops)
        return self._predictors[key]

    def logits(
        self, predictor: MultiCropPredictor, field: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the labels (pairs,) and logits (pairs, crops, num_classes).

        Args:
            predictor: A `MultiCropPredictor`.
            field: `observed` or `future`, the clip that it sees.
        """
        pairs, logits = self.pairs_and_logits(predictor, field)
        return np.array([pair.label for pair in pairs]), logits

    def pairs_and_logits(
        self, predictor: MultiCropPredictor, field: str
    ) -> tuple[list[Pair], np.ndarray]:
        """Returns the pairs that could be read, and their logits."""
        indices, logits = self.indexed_logits(predictor, field)
        return [self._pairs[index] for index in indices], logits

    def indexed_logits(
        self, predictor: MultiCropPredictor, field: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of the pairs could be read, and their logits; in order."""
        worker, count = self._distribution.worker, self._distribution.num_workers
        # Every worker has as many rows; those without a pair have the index -1.
        rows = -(-len(self._pairs) // count)
        indices = np.full(rows, -1, np.int64)
        logits = np.zeros((rows, len(predictor.crops), self._num_classes), np.float32)
        done = 0
        for batch in self._batches(self._own_pairs, field, predictor):
            number = len(batch[INDEX])
            here = slice(done, done + number)
            indices[here] = batch[INDEX].numpy() * count + worker
            logits[here] = self._distribution.predict(
                predictor.function, batch[field]
            ).numpy()
            done += number
            self._count(number)
        # Those that cannot be read.
        self._count(self.num_clips - done)
        indices = self._distribution.gather(indices)
        logits = self._distribution.gather(logits)
        order = np.argsort(indices)[np.sum(indices < 0) :]
        if not len(order):
            raise ValueError("None of the evaluated clips can be read.")
        return indices[order], logits[order]

    def ask(
        self, questions: Mapping[str, Question]
    ) -> tuple[list[int], dict[str, Logits]]:
        """Returns which pairs all networks could be asked about, and their `Logits`.

        A video may turn out unreadable on the way: its pairs then count for none.

        Args:
            questions: By name of the network.
        """
        found, seen = {}, []
        for name, question in questions.items():
            indices, by_crop = self.indexed_logits(*question)
            # A copy, or all crops of every network stay in memory.
            found[name] = Logits(by_crop.mean(1), by_crop[:, 0].copy())
            seen.append(indices)
        common = sorted(set.intersection(*(set(own.tolist()) for own in seen)))
        if not common:
            raise ValueError("None of the evaluated clips can be read.")
        for name, own in zip(found, seen, strict=True):
            is_common = np.isin(own, common)
            mean, center = found[name].mean[is_common], found[name].center[is_common]
            found[name] = Logits(mean, center)
        return common, found

    def validation(
        self, model: keras.Model, field: str
    ) -> Callable[[], dict[str, float]]:
        """Returns a function without arguments that gives the model's scores."""
        predictor = self.predictor(model)

        def validate() -> dict[str, float]:
            labels, logits = self.logits(predictor, field)
            logits = logits[:, 0]
            return _scores(labels, logits)

        return validate

    def _count(self, clips: int) -> None:
        if self._bar is not None and clips:
            self._bar.add(clips)

    def _batches(
        self, pairs: Sequence[Pair], field: str, predictor: MultiCropPredictor
    ) -> Iterable[dict[str, tf.Tensor]]:
        if not pairs:
            return ()
        return from_clips.evaluation_batches(
            pairs,
            self._loader,
            # As much memory as in training.
            batch_size=-(-self._batch_size // predictor.crops.num_positions),
            corners=predictor.crops.corners,
            fields=(field,),
        )


def evaluator_of(
    config: Config, data: RunData, distribution: Distribution
) -> Evaluator:
    """Returns the `Evaluator` of the evaluated pairs of a run.

    Args:
        config: The run's `Config`.
        data: Its `RunData`.
        distribution: The `Distribution` that computes.
    """
    return Evaluator(
        data.evaluated,
        data.loader,
        config.training.batch_size,
        len(data.index.classes),
        distribution,
    )


def evaluate(
    experiment: "Experiment", teacher: keras.Model, students: Mapping[str, keras.Model]
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


def _with_bar(experiment: "Experiment", num_students: int, crops: Crops) -> Evaluator:
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
        _scores(labels, logits.mean)
        | epic(pairs, logits.mean)
        | {"one_view_top1": central}
    )


def _scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    loss = float(np.mean(log_losses(labels, logits)))
    return classification_scores(labels, logits) | {"loss": loss}
