"""Asks networks about pairs: every pair once, its observed or its future clip."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kd_keras.data.batches import from_clips
from kd_keras.data.batches.fields import INDEX
from kd_keras.data.clips.loader import ClipReader
from kd_keras.data.segments import Pair
from kd_keras.metrics import classification_scores, log_losses
from train.data import RunData
from train.flags.config import Config
from train.loop.distribution import Distribution
from train.test_time_crops import Crops, MultiCropPredictor

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
            return scores_of(labels, logits[:, 0])

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


def scores_of(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Returns the `classification_scores` and the mean loss, in nats per clip.

    Args:
        labels: Classes (clips,).
        logits: Of the clips (clips, classes).
    """
    loss = float(np.mean(log_losses(labels, logits)))
    return classification_scores(labels, logits) | {"loss": loss}
