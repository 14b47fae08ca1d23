"""What a page says of one run: everything is read, nothing is written to the run."""

import dataclasses
import functools
import json
import os
import pathlib
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from export.student_file import load_spec
from kd_keras import statistics, visualise
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.video import reading
from kd_keras.metrics import confusion_matrix
from train import json_lines
from train import predictions as predictions_lib
from train import times as times_lib
from train.finished_run import FinishedRun
from train.predictions import Predictions
from train.report import (
    charts,
    correspondence,
    correspondence_files,
    examples,
    scores,
    strips,
    timeline,
)
from train.report.student_view import StudentView
from train.report.summary import table_rows

# Rows of the table that are no networks.
_REFERENCES = ("majority", "bigram on the true last action")
# More do not fit on a chart.
_MOST_CLASSES = 40

_Made = TypeVar("_Made")


@dataclasses.dataclass
class Section:
    """What the page shows of a run; whatever cannot be shown has a note instead.

    Attributes:
        name: Of the run.
        command, flags: What repeats the run, and its flagfile.
        counts, choice: Sentences of results.json.
        classes: Class names.
        references: (name, top-1) of what is no network.
        rows: The `Row`s.
        predictions: The `Predictions`, or None.
        num_clusters: Of how many videos or groups its clips are; 0 without predictions.
        classes_shown: What is said of the classes on charts, if some are left out.
        compared: Titles of the two students that are compared.
        charts: Data URIs by name.
        pseudo_labels: What `pseudo_label_quality` returned, or None.
        layers: What the correspondence is of.
        correspondences, examples, timeline, times: As the templates take them.
        notes: What is missing, and why.
    """

    name: str
    command: str
    flags: str
    counts: str
    choice: str | None
    classes: list[str]
    references: list
    rows: list = dataclasses.field(default_factory=list)
    predictions: Predictions | None = None
    num_clusters: int = 0
    classes_shown: str = ""
    compared: tuple[str, str] | None = None
    charts: dict[str, str] = dataclasses.field(default_factory=dict)
    pseudo_labels: dict | None = None
    layers: str = ""
    correspondences: list = dataclasses.field(default_factory=list)
    examples: dict = dataclasses.field(default_factory=dict)
    timeline: dict | None = None
    times: list = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def of_run(
    path: str | os.PathLike,
    name: str,
    files: str | os.PathLike,
    clip: int | None = None,
    token: Sequence[int] | None = None,
    original: str | None = None,
) -> Section:
    """Returns the `Section` of a run.

    Args:
        path: Run directory.
        name: What the page calls the run.
        files: Folder for the pictures and films of the correspondence.
        clip: Number of the evaluated clip whose correspondence is shown; None picks.
        token: (time, row, column) of its cell; None takes the strongest.
        original: The run directory that `path` is a copy of; None if it is none.
    Raises:
        ValueError: If the folder holds no finished run.
    """
    path, files = pathlib.Path(path), pathlib.Path(files)
    return _Maker(path, name, files, clip, token, original or str(path)).make()


def file_stem(name: str, position: int) -> str:
    """Returns what the files of a correspondence are called.

    Args:
        name: What the page calls the run.
        position: Of the clip.
    """
    # Many folders have a hyphen in their name: a-b/c and a/b-c are two runs.
    return f"{name.replace('/', '+')}-correspondence-{position}"


class _Maker:
    def __init__(
        self,
        path: pathlib.Path,
        name: str,
        files: pathlib.Path,
        clip: int | None,
        token: Sequence[int] | None,
        original: str,
    ) -> None:
        self._path, self._name, self._files = path, name, files
        self._clip, self._token = clip, token
        # A copy of a remote run is gone when somebody reads the page.
        self._flagfile = f"{original.rstrip('/')}/run.flags"
        self._results = _read_results(path)
        self._section = self._begin()

    def make(self) -> Section:
        """Fills the section; what fails leaves a note."""
        section, path = self._section, self._path
        self._attempt("The curves", self._draw_curves)
        run = self._attempt("The videos and networks", lambda: FinishedRun(path))
        predictions = section.predictions = self._attempt(
            "What the networks said of each clip", lambda: self._predictions(run)
        )
        if predictions is not None:
            self._attempt("The statistics", lambda: self._add_statistics(predictions))
        if run is not None and predictions is not None:
            self._add_clips(run, predictions)
        section.times = _times(path)
        if not section.times:
            section.notes.append(
                "Where the time went is not known: the run has no times.jsonl."
            )
        return section

    def _begin(self) -> Section:
        results, path = self._results, self._path
        rows = table_rows(results)
        flagfile = shlex.quote(f"--flagfile={self._flagfile}")
        return Section(
            name=self._name,
            # The flags name the run's own folder.
            command=f"python -m train.main {flagfile} --run_dir=OTHER",
            flags=(path / "run.flags").read_text(encoding="utf-8"),
            counts=(
                f"{results['num_evaluated']} clips of the {results['eval_part']} part "
                f"are evaluated. The run trained on {results['num_train_labeled']} "
                f"labeled and {results['num_train_unlabeled']} unlabeled pairs of "
                f"{results['num_classes']} classes."
            ),
            choice=results.get("student_choice", {}).get("text"),
            classes=results["classes"],
            references=[row for row in rows if row[0] in _REFERENCES],
        )

    def _attempt(self, what: str, make: Callable[[], _Made]) -> _Made | None:
        """Returns what `make` returns; None, and a note, if it cannot be made."""
        try:
            return make()
        except (ValueError, OSError, tf.errors.OpError) as error:
            self._section.notes.append(f"{what} cannot be shown: {error}")
            return None

    def _predictions(self, run: FinishedRun | None) -> Predictions:
        path = self._path / predictions_lib.FILE
        if path.exists():
            return predictions_lib.read(path)
        if run is None:
            raise ValueError(f"there is no {path}, and no network could be asked.")
        return run.predictions()

    def _draw(self, name: str, draw: Callable[[pathlib.Path], object]) -> None:
        """Keeps what `draw(path)` draws as a chart."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{name}.svg"
            draw(path)
            uri = strips.as_uri("image/svg+xml", path.read_bytes())
        self._section.charts[name] = uri

    def _draw_curves(self) -> None:
        file = self._path / "metrics.jsonl"
        records = json_lines.read(file)
        if not records:
            raise ValueError(f"{file} is missing or empty.")
        phases = dict.fromkeys(record["phase"] for record in records)
        histories = {p: [r for r in records if r["phase"] == p] for p in phases}
        self._draw("curves", functools.partial(visualise.curves, histories))

    def _add_statistics(self, predictions: Predictions) -> None:
        section = self._section
        section.rows = list(scores.rows(predictions).values())
        labels, clusters = predictions.labels, predictions.clusters
        section.num_clusters = len(set(clusters.tolist()))
        self._draw("reliability", functools.partial(charts.reliability, {
            scores.title(name): (
                labels,
                statistics.softmax(logits),
                statistics.cross_fitted(labels, logits, clusters)[0],
            )
            for name, logits in predictions.logits.items()
            if name != predictions_lib.TEACHER_OBSERVED
        }))  # fmt: skip
        teacher = predictions.logits[predictions_lib.TEACHER_FUTURE]
        quality = statistics.pseudo_label_quality(labels, statistics.softmax(teacher))
        section.pseudo_labels = quality
        self._draw("pseudo_labels", functools.partial(charts.pseudo_labels, quality))
        self._compare_students(predictions)

    def _compare_students(self, predictions: Predictions) -> None:
        """Confusion and gain by class of labels alone and of the distilled student."""
        section = self._section
        counts = charts.counts_of(predictions.labels)
        shown = sorted(sorted(counts, key=lambda label: counts[label])[-_MOST_CLASSES:])
        if len(shown) < len(section.classes):
            section.classes_shown = (
                f"Of {len(section.classes)} classes these are the {len(shown)} with "
                "most clips."
            )
        distilled = self._distilled(predictions)
        teacher = predictions_lib.TEACHER_FUTURE
        has_baseline = scores.BASELINE in predictions.logits
        names = [scores.BASELINE] if has_baseline else []
        names += [teacher] if distilled is None else [distilled, teacher]
        matrices = {
            scores.title(name): _fractions(
                confusion_matrix(predictions.labels, predictions.logits[name])
            )[np.ix_(shown, shown)]
            for name in names
        }
        classes = [section.classes[label] for label in shown]
        draw = functools.partial(visualise.confusion, matrices, classes)
        self._draw("confusion", draw)
        if len(names) < 3:
            return
        section.compared = scores.title(names[0]), scores.title(names[1])
        before, after = (predictions.logits[name].argmax(1) for name in names[:2])
        gains = statistics.class_gains(
            predictions.labels, before, after, predictions.clusters
        )
        gains = {label: gains[label] for label in shown}
        draw = functools.partial(charts.class_gains, gains, counts, section.classes)
        self._draw("class_gains", draw)

    def _distilled(self, predictions: Predictions) -> str | None:
        return scores.best_distilled(predictions, self._results.get("best_student"))

    def _add_clips(self, run: FinishedRun, predictions: Predictions) -> None:
        """Everything that shows frames: examples, correspondences, the timeline."""
        section = self._section
        name = self._distilled(predictions)
        if name is None and predictions.methods:
            name = predictions_lib.of_student(predictions.methods[-1])
        if name is None:
            section.notes.append("There is no student, so no clips are shown.")
            return
        if isinstance(run.data.loader.clip_format, FeatureFormat):
            section.notes.append(
                "The networks see features, which are no pictures, so no clips are "
                "shown."
            )
            return
        method = name.removeprefix(predictions_lib.of_student(""))
        student = self._attempt("The clips", lambda: run.student(method))
        if student is None:
            return
        view = StudentView(run, predictions, name, student)
        baseline = scores.BASELINE if name != scores.BASELINE else None
        if baseline not in predictions.logits:
            baseline = None
        chosen = examples.choose(predictions, name, baseline)
        section.examples = (
            self._attempt("The examples", lambda: view.examples(chosen)) or {}
        )
        self._attempt(
            "The correspondence", lambda: self._correspond(view, chosen, predictions)
        )
        section.timeline = self._attempt(
            "The timeline", lambda: self._timeline(view, method)
        )

    def _correspond(
        self,
        view: StudentView,
        chosen: Mapping[str, Sequence[int]],
        predictions: Predictions,
    ) -> None:
        section, teacher = self._section, view.run.teacher()
        layers = view.layers(teacher)
        section.layers = f"student {layers[0]}, teacher {layers[1]}"
        count = len(predictions.labels)
        for position in examples.picked(chosen, self._clip, count):
            found = view.correspondence(position, teacher, layers)
            cell = correspondence.cell_of(found, self._token)
            stem = file_stem(section.name, position)
            correspondence_files.draw(found, cell, self._files / f"{stem}.png")
            correspondence_files.film(found, cell, self._files / f"{stem}.mp4")
            section.correspondences.append(
                {
                    "caption": view.caption(position, section.classes),
                    "attention": view.values(found, cell, position),
                }
            )

    def _timeline(self, view: StudentView, method: str) -> dict[str, str]:
        run = view.run
        spec = load_spec(run.path / "students" / f"{method}.keras")
        lead_time_s = spec.lead_time_s
        if spec.observed_s is None or lead_time_s is None:
            raise ValueError(
                "the student observes a fraction of each video, so it cannot slide."
            )
        name = timeline.longest_video(run.data)
        video = run.data.index.videos[name]
        info = reading.probe(video)
        truth = timeline.actions(run.data.whole_index, name)
        found = timeline.anticipate(view.student, spec, video, info)
        self._draw(
            "timeline",
            lambda path: timeline.draw(
                truth, found, lead_time_s, info.duration_s, path
            ),
        )
        return {
            "chart": self._section.charts["timeline"],
            "text": (
                f"{name} has {len(truth)} labeled actions in {info.duration_s:.1f} s. "
                f"The student sees {spec.observed_s:g} s at a time and speaks of what "
                f"starts {lead_time_s:g} s after them; an anticipation is drawn "
                "at the time that it speaks of."
            ),
        }


def _fractions(confusion: np.ndarray) -> np.ndarray:
    """Counts as fractions of each true class; 0 if a class has no clip."""
    return confusion / np.maximum(confusion.sum(1, keepdims=True), 1)


def _times(path: pathlib.Path) -> list[dict[str, Any]]:
    """Where the time of a run went, as the template takes it."""
    parts = times_lib.read(path)
    longest = max((part.seconds for part in parts), default=0.0)
    return [
        {
            "name": part.name.replace("_", " "),
            "seconds": part.seconds,
            "waiting": part.waiting,
            "share": part.seconds / longest if longest else 0.0,
        }
        for part in parts
    ]


def _read_results(path: pathlib.Path) -> dict[str, Any]:
    file = path / "results.json"
    if not file.exists():
        raise ValueError(
            f"{path} holds no finished run: {file} is missing. Give the folder of a "
            "run, such as runs/demo; python -m train.main --task=evaluate finishes one."
        )
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{file} is damaged ({error}). Delete it, and evaluate the run again: the "
            "same command with --task=evaluate."
        ) from error
    if "teacher" not in results:
        raise ValueError(
            f"{path} adds up other runs; give those instead: "
            f"{', '.join(results.get('runs', {}).values())}."
        )
    return results
