"""A finished run, opened again to be read: its flags, its data and its networks."""

import os
import pathlib
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from kd_keras.data.batches.fields import FUTURE, OBSERVED
from kd_keras.data.pairs import Timing, labeled_pairs
from kd_keras.data.parallel import progress_bar
from kd_keras.data.segments import Pair
from train import data as data_lib
from train import data_set, predictions
from train.evaluator import evaluator_of
from train.flags import config as config_lib
from train.loop.distribution import Distribution
from train.predictions import Predictions
from train.teacher import load_teacher
from train.test_time_crops import MultiCropPredictor, crops_of


class FinishedRun:
    """A trained run and its data, as its run.flags describe them.

    Args:
        path: The run directory; it is only read.
    Attributes:
        path: As given.
        config: The run's `Config`.
        data: Its `RunData`.
        crops: The `Crops` that it evaluates.
    Raises:
        ValueError: If there is no run.flags, or the data is no longer that of the run.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path)
        config = config_lib.from_flagfile(self.path / "run.flags")
        # The folder may have been moved since.
        self.config = config_lib.with_run_dir(config, path)
        self.crops = crops_of(config.augmentation)
        self.data = data_lib.load(self.config, self.path)
        data_set.refuse_changes(
            self.path,
            data_set.describe(self.config.data, self.data.whole_index),
            "a run",
        )
        self._evaluator = evaluator_of(self.config, self.data, Distribution())

    def methods(self) -> list[str]:
        """Returns the methods of the students that the run holds."""
        return [
            method
            for method in self.config.distillation.students
            if self._student_path(method).exists()
        ]

    def teacher(self) -> keras.Model:
        """Loads the teacher."""
        return load_teacher(self.config, self.data.index.classes)

    def student(self, method: str) -> keras.Model:
        """Loads the student of a method."""
        return keras.saving.load_model(self._student_path(method), compile=False)

    def all_logits(
        self, methods: Iterable[str]
    ) -> tuple[dict[str, np.ndarray], list[int]]:
        """Returns the logits of every network, and the evaluated pairs they are of.

        Args:
            methods: Of the students.
        Returns:
            The logits by network, and the indices of the pairs.
        """
        observers = self.observers(methods)
        total = self._evaluator.num_clips * (1 + len(observers))
        evaluator = self._evaluator.counted_by(progress_bar(total, "clip"))
        teacher = observers[predictions.TEACHER_OBSERVED]
        indices, logits = evaluator.ask(
            {predictions.TEACHER_FUTURE: (teacher, FUTURE)}
            | {name: (predictor, OBSERVED) for name, predictor in observers.items()}
        )
        return {name: own.mean for name, own in logits.items()}, indices

    def observers(self, methods: Iterable[str]) -> dict[str, MultiCropPredictor]:
        """Returns what computes the logits of the teacher and of students, by network.

        Args:
            methods: Of the students.
        """
        found = {predictions.TEACHER_OBSERVED: self._predictor(self.teacher())}
        for method in methods:
            name = predictions.of_student(method)
            found[name] = self._predictor(self.student(method))
        return found

    @property
    def timing(self) -> Timing:
        """Where the two clips of its pairs lie."""
        return data_lib.timing_of(self.config.data)

    def pairs_at(self, timing: Timing) -> list[Pair]:
        """Returns the evaluated pairs with clips of other times.

        Raises:
            ValueError: If the run reads prepared clips, which are of one time alone.
        """
        if (records := self.config.data.records) is not None:
            raise ValueError(
                f"{self.path} reads prepared clips (--records={records}), which have "
                "no other observed clips."
            )
        return labeled_pairs(self.data.index, self.data.eval_part, timing)

    def predicted(
        self,
        predictor: MultiCropPredictor,
        pairs: Sequence[Pair],
        bar: keras.utils.Progbar,
    ) -> dict[int, int]:
        """Returns the class that a network names, by index of each readable pair.

        Args:
            predictor: One of `observers`.
            pairs: Of `pairs_at`.
            bar: Counts them.
        Raises:
            ValueError: If the network says NaN or infinity.
        """
        evaluator = self._evaluator.over(pairs).counted_by(bar)
        indices, by_crop = evaluator.indexed_logits(predictor, OBSERVED)
        logits = by_crop.mean(1)
        if lost := int(np.sum(~np.isfinite(logits).all(1))):
            raise ValueError(
                f"A network of {self.path} said NaN or infinity of {lost} of "
                f"{len(logits)} clips, which has no score. Train it again."
            )
        return dict(zip(indices.tolist(), logits.argmax(1).tolist(), strict=True))

    def predictions(self) -> Predictions:
        """Computes the `Predictions` of every network."""
        logits, indices = self.all_logits(self.methods())
        pairs = [self.data.evaluated[index] for index in indices]
        return predictions.of_pairs(self.data.index, pairs, logits)

    def _predictor(self, network: keras.Model) -> MultiCropPredictor:
        return self._evaluator.predictor(network, self.crops)

    def _student_path(self, method: str) -> pathlib.Path:
        return self.path / "students" / f"{method}.keras"
