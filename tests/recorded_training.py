"""An experiment that trains nothing and remembers what it was told to train."""

import pathlib
import types

from kd_keras.data.segments import Clip, Pair
from tests import small_run, tiny_training
from train import batches, networks, phases, results

CLASSES = ("cut", "open", "shut")


def config(*flags):
    return tiny_training.config(*small_run.SMALLEST_NETWORK, "--num_frames=9", *flags)


def network(*flags):
    """A student of the smallest kind with its starting weights."""
    return networks.build_student(config(*flags), len(CLASSES))


def pair(number, label):
    """The `number`th pair of a video."""
    observed = Clip("a.mp4", number, number + 1)
    return Pair(observed, Clip("a.mp4", number + 2, number + 3), label)


def record(monkeypatch):
    """Makes phases and savings remembered by the `Experiment` in place of done."""

    def train(experiment, name, model, source, steps, learning_rate):
        experiment.trained.append(
            types.SimpleNamespace(
                name=name,
                model=model,
                source=source,
                steps=steps,
                learning_rate=learning_rate,
            )
        )

    def save(experiment, network, path):
        experiment.saved.append((network, path))

    def training_batches(experiment, pairs, start_step, fields):
        return pairs, start_step, fields

    monkeypatch.setattr(phases, "train", train)
    monkeypatch.setattr(results, "save", save)
    monkeypatch.setattr(batches, "training_batches", training_batches)


class Experiment:
    """Stands for `train.experiment.Experiment`.

    Attributes:
        trained: The arguments of every training, by name.
        saved: Networks and paths.
        scored: Networks, fields and pairs; the score is `top1`.
    """

    def __init__(self, directory, *flags, **data):
        self.config = config(f"--run_dir={directory}", *flags)
        self.distribution = types.SimpleNamespace(is_chief=True)
        self.directory = pathlib.Path(directory)
        labeled, action_pairs, unlabeled = (
            [pair(3 * group + number, label) for number, label in enumerate(labels)]
            for group, labels in enumerate(((2, 1, 2), (0, 1), (None, None)))
        )
        self.data = types.SimpleNamespace(
            index=types.SimpleNamespace(classes=CLASSES),
            labeled=labeled,
            action_pairs=action_pairs,
            unlabeled=unlabeled,
            for_students=[*labeled, *action_pairs, *unlabeled],
            **{"choosing": [], **data},
        )
        self.evaluator = types.SimpleNamespace(over=self._evaluator_over)
        self.trained, self.saved, self.scored, self.top1 = [], [], [], 0.0

    def _evaluator_over(self, pairs):
        def validation(model, field):
            def validate():
                self.scored.append((model, field, pairs))
                return {"top1": self.top1}

            return validate

        return types.SimpleNamespace(validation=validation)
