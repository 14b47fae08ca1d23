"""The numbers of a report's tables: scores with intervals, calibration, comparisons."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from kd_keras import statistics
from kd_keras.metrics import classification_scores, log_losses
from kd_keras.statistics import Interval
from train import predictions as predictions_lib
from train.flags.learning import LABELS_ALONE
from train.report.summary import STUDENTS

# What a distilled student is compared with.
BASELINE = predictions_lib.of_student("labels")

_TITLES = {
    predictions_lib.TEACHER_FUTURE: "teacher, future clip",
    predictions_lib.TEACHER_OBSERVED: "teacher, observed clip",
} | {predictions_lib.of_student(method): title for method, title in STUDENTS.items()}


@dataclasses.dataclass(frozen=True)
class Row:
    """The scores of one network.

    Attributes:
        title: Its name in words.
        top1: Fraction of the clips, with its interval over videos.
        top5, class_mean_recall: Fractions.
        gain: Paired difference of top-1 to the student from labels alone; None if there
            is no such student, or it is this one, or this is the teacher.
        loss, scaled_loss: Mean of -log p(true class) over the clips, in nats, before
            and after temperature scaling, with intervals.
        agreement: Fraction of clips on which it says what the teacher says of the
            future clip; None for the teacher itself.
        ece, scaled_ece: Calibration error before and after temperature scaling.
        temperature: Mean of the temperatures of the folds.
    """

    title: str
    top1: Interval
    top5: float
    class_mean_recall: float
    gain: Interval | None
    loss: Interval
    scaled_loss: Interval
    agreement: float | None
    ece: float
    scaled_ece: float
    temperature: float


def title(name: str) -> str:
    """Returns what a network is called in a report."""
    return _TITLES.get(name, name)


def rows(predictions: predictions_lib.Predictions) -> dict[str, Row]:
    """Returns the `Row` of each network of a run, by its name.

    Args:
        predictions: The run's `Predictions`.
    """
    return {name: _row(predictions, name) for name in predictions.logits}


def _row(predictions: predictions_lib.Predictions, name: str) -> Row:
    labels, clusters = predictions.labels, predictions.clusters
    logits, hits = predictions.logits[name], predictions.hits(name)
    scores = classification_scores(labels, logits)
    scaled, temperatures = statistics.cross_fitted(labels, logits, clusters)
    future = predictions.logits[predictions_lib.TEACHER_FUTURE].argmax(1)
    is_teacher = name == predictions_lib.TEACHER_FUTURE
    return Row(
        title=title(name),
        top1=statistics.mean_interval(hits, clusters),
        top5=scores["top5"],
        class_mean_recall=scores["class_mean_recall"],
        gain=_gain([predictions], name),
        loss=statistics.mean_interval(log_losses(labels, logits), clusters),
        scaled_loss=statistics.mean_interval(
            statistics.probability_losses(labels, scaled), clusters
        ),
        agreement=None if is_teacher else float(np.mean(logits.argmax(1) == future)),
        ece=statistics.expected_calibration_error(labels, statistics.softmax(logits)),
        scaled_ece=statistics.expected_calibration_error(labels, scaled),
        temperature=float(np.mean(temperatures)),
    )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One network in several runs.

    Attributes:
        title: Its name in words.
        by_run: Its top-1 in each run; None if a run has no such network.
        mean: Over the runs, with its interval over runs and videos; None if runs lack
            it or evaluate other clips.
        deviation: Standard deviation over the runs; None with one run, or if they
            evaluate other clips.
        gain: As in `Row`, over all runs.
    """

    title: str
    by_run: list[float | None]
    mean: Interval | None
    deviation: float | None
    gain: Interval | None


def compare(runs: Sequence[predictions_lib.Predictions]) -> list[Comparison]:
    """Returns the `Comparison` of each network of several runs.

    Args:
        runs: The `Predictions` of each run.
    """
    same = all(runs[0].has_clips_of(run) for run in runs)
    names = list(dict.fromkeys(name for run in runs for name in run.logits))
    compared = []
    for name in names:
        known = [run for run in runs if name in run.logits]
        everywhere = same and len(known) == len(runs)
        tops = [
            float(run.hits(name).mean()) if name in run.logits else None for run in runs
        ]
        of_all = [top for top in tops if top is not None]
        mean = None
        if everywhere:
            hits = np.stack([run.hits(name) for run in runs])
            mean = statistics.mean_interval(hits, runs[0].clusters)
        compared.append(
            Comparison(
                title=title(name),
                by_run=tops,
                mean=mean,
                deviation=(
                    float(np.std(of_all, ddof=1)) if same and len(of_all) > 1 else None
                ),
                gain=_gain(runs, name) if everywhere else None,
            )
        )
    return compared


def _gain(runs: Sequence[predictions_lib.Predictions], name: str) -> Interval | None:
    """The paired difference to the baseline over all runs, or None."""
    if name == BASELINE or not name.startswith(BASELINE.partition(".")[0]):
        return None
    if not all(BASELINE in run.logits for run in runs):
        return None
    gains = np.stack([run.hits(name) - run.hits(BASELINE) for run in runs])
    return statistics.mean_interval(gains, runs[0].clusters)


def best_distilled(
    predictions: predictions_lib.Predictions, best_method: str | None = None
) -> str | None:
    """Returns the name of the student that is compared with labels alone.

    Args:
        predictions: The run's `Predictions`.
        best_method: The method that the run chose. If it learned from labels alone,
            or is not known, the last distilled student is taken.
    Returns:
        None if no student is distilled.
    """
    distilled = [
        predictions_lib.of_student(method)
        for method in predictions.methods
        if method not in LABELS_ALONE
    ]
    if best_method is not None:
        chosen = predictions_lib.of_student(best_method)
        if chosen in distilled:
            return chosen
    return distilled[-1] if distilled else None
