"""One training of a run: what it learns from, and how the flags say it is optimized."""

from collections.abc import Callable, Sequence
from typing import Protocol

import keras
import tensorflow as tf

from kd_keras.data.batches.mixup import with_mixup
from kd_keras.data.segments import Pair
from kd_keras.training.supervised import SupervisedTrainer
from train import batches
from train.experiment import Experiment
from train.flags.config import Config
from train.loop import optimization
from train.loop.loop import Phase


class Source(Protocol):
    """What a network learns from: `Clips`, a `TeacherCache` or `StoredFeatures`.

    Attributes:
        network: What is trained.
        pairs: What it is trained on.
        field: The field of a batch that the network sees.
        has_targets: Whether batches hold the teacher's targets in place of its clips.
    """

    network: keras.Model
    pairs: Sequence[Pair]
    field: str
    has_targets: bool

    def batches_from(self, step: int) -> tf.data.Dataset:
        """Returns the endless stream of training batches from a step on."""

    def validation(self) -> Callable[[], dict[str, float]]:
        """Returns the function without arguments that scores the network in training.

        It sees the pairs that choose, never those of the test part: what a person sees
        while training, she tunes on. It gives nothing if there are none.
        """

    def finish(self) -> None:
        """Does what remains after the training."""


class Clips:
    """Clips of pairs as what a network learns from.

    Args:
        experiment: The `Experiment`.
        network: What is trained.
        pairs: What it is trained on.
        fields: The clips of a batch; the network sees the first of them.
    Attributes:
        network, pairs, field, has_targets: As `Source` has them.
    """

    has_targets = False

    def __init__(
        self,
        experiment: Experiment,
        network: keras.Model,
        pairs: Sequence[Pair],
        fields: Sequence[str] = batches.CLIPS,
    ) -> None:
        self.network, self.pairs, self.field = network, pairs, fields[0]
        self._experiment, self._fields = experiment, fields

    def batches_from(self, step: int) -> tf.data.Dataset:
        """Returns the stream of training batches of clips, with mixtures by --mixup."""
        clips = batches.training_batches(
            self._experiment, self.pairs, step, self._fields
        )
        config = self._experiment.config
        if not config.augmentation.mixup:
            return clips
        return with_mixup(
            clips,
            config.augmentation.mixup,
            seed=config.run.seed,
            start_step=step,
            fields=self._fields,
        )

    def validation(self) -> Callable[[], dict[str, float]]:
        """Returns the function that scores the network in training."""
        return validation(self._experiment, self.network, self.field)

    def finish(self) -> None:
        """Does what remains after the training, which is nothing here."""


def validation(
    experiment: Experiment, network: keras.Model, field: str
) -> Callable[[], dict[str, float]]:
    """Returns the function that `Source.validation` says, for any network."""
    choosing = experiment.data.choosing
    if not choosing:
        return dict
    return experiment.evaluator.over(choosing).validation(network, field)


def supervised(config: Config, source: Source) -> SupervisedTrainer:
    """Returns what trains the network of a source from labels alone."""
    return SupervisedTrainer(
        source.network,
        source.field,
        config.training.label_smoothing,
        rematerialize=config.training.remat,
    )


def train(
    experiment: Experiment,
    name: str,
    model: keras.Model,
    source: Source,
    steps: int,
    learning_rate: float,
) -> None:
    """Trains the network of a source to its last step.

    Args:
        experiment: The `Experiment`.
        name: Names what is trained, in files and messages.
        model: The `SupervisedTrainer` or `Distiller` of the network.
        source: What it learns from.
        steps: Number of steps.
        learning_rate: Highest rate.
    """
    training = experiment.config.training
    schedule = experiment.config.distillation.feature_weight_schedule
    optimizer = optimization.optimizer(experiment.config, steps, learning_rate)
    if training.pretrained_rate != 1:
        optimization.set_rates(
            optimizer,
            source.network,
            model.trainable_variables,
            training.pretrained_rate,
        )
    model.compile(optimizer=optimizer)
    Phase(
        name=name,
        model=model,
        batches_from=source.batches_from,
        steps=steps,
        pairs=source.pairs,
        training=training,
        directory=experiment.directory,
        normalize_batch=batches.normalizer(experiment),
        validate=source.validation(),
        weight_moves=schedule != "constant",
        distribution=experiment.distribution,
        interruption=experiment.interruption,
    ).run()
    source.finish()
