"""One training of a run: what it learns from, and how the flags say it is optimized."""

from kd_keras.training.supervised import SupervisedTrainer
from train import batches
from train.loop import optimization
from train.loop.loop import Phase


class Clips:
    """Clips of pairs as what a network learns from.

    `TeacherCache` and `StoredFeatures` have the same attributes and methods.

    Args:
        experiment: The `Experiment`.
        network: What is trained.
        pairs: What it is trained on.
        fields: The clips of a batch; the network sees the first of them.
    Attributes:
        network, pairs: As given.
        field: The field of a batch that the network sees.
        has_targets: Whether batches hold the teacher's targets in place of its clips.
    """

    has_targets = False

    def __init__(self, experiment, network, pairs, fields=batches.CLIPS):
        self.network, self.pairs, self.field = network, pairs, fields[0]
        self._experiment, self._fields = experiment, fields

    def batches_from(self, step):
        """Returns the endless stream of training batches from a step on."""
        return batches.training_batches(
            self._experiment, self.pairs, step, self._fields
        )

    def validation(self):
        """Returns the function without arguments that scores the network in training.

        It sees the pairs that choose, never those of the test part: what a person sees
        while training, she tunes on. It gives nothing if there are none.
        """
        return validation(self._experiment, self.network, self.field)

    def finish(self):
        """Does what remains after the training, which is nothing here."""


def validation(experiment, network, field):
    """Returns the function that `Clips.validation` says, for any network."""
    choosing = experiment.data.choosing
    if not choosing:
        return dict
    return experiment.evaluator.over(choosing).validation(network, field)


def supervised(config, source):
    """Returns what trains the network of a source from labels alone."""
    return SupervisedTrainer(
        source.network,
        source.field,
        config.training.label_smoothing,
        rematerialize=config.training.remat,
    )


def train(experiment, name, model, source, steps, learning_rate):
    """Trains the network of a source to its last step.

    Args:
        experiment: The `Experiment`.
        name: Names what is trained, in files and messages.
        model: The `SupervisedTrainer` or `Distiller` of the network.
        source: What it learns from: `Clips`, a `TeacherCache` or `StoredFeatures`.
        steps: Number of steps.
        learning_rate: Highest rate.
    """
    training = experiment.config.training
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
        distribution=experiment.distribution,
        interruption=experiment.interruption,
    ).run()
    source.finish()
