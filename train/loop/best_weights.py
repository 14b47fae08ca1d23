"""The weights with the best validation, and when training may stop early."""

import math
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from kd_keras.training.fused_batch_norm import moving_statistics
from train.flags.learning import Training


class BestWeights:
    """Remembers the weights with the best validation.

    Args:
        model: What is trained.
        training: The run's `Training` flags.
    Attributes:
        variables: Its state, by name.
    """

    def __init__(self, model: keras.Model, training: Training) -> None:
        self._metric, self._keeps_best = training.best_metric, training.keep == "best"
        self._patience = training.early_stopping
        self._validate_every = training.validate_every
        self._weights = [*model.trainable_variables, *moving_statistics(model)]
        self._best = tf.Variable(-math.inf, dtype=tf.float64, trainable=False)
        self._best_step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.variables = {"best": self._best, "best_step": self._best_step}
        self._kept = []
        if self._keeps_best:
            self._kept = [tf.Variable(w.value, trainable=False) for w in self._weights]
            self.variables["weights"] = self._kept

    def update(self, step: int, validated: Mapping[str, float]) -> None:
        """Compares the current weights with the best ones.

        Args:
            step: The step they are of.
            validated: Metrics of the validation data, by name; empty without any.
        """
        if not (self._keeps_best or self._patience):
            return
        value = validated[self._metric]
        value = -value if self._metric == "loss" else value
        # The first of equals.
        if value > float(self._best.numpy()):
            self._best.assign(value)
            self._best_step.assign(step)
            for kept, weight in zip(self._kept, self._weights, strict=False):
                kept.assign(tf.convert_to_tensor(weight.value))

    def is_over(self, step: int) -> bool:
        """Returns whether --early_stopping validations in a row were no better."""
        if not self._patience:
            return False
        return (
            step - int(self._best_step.numpy()) >= self._patience * self._validate_every
        )

    def restore_best(self, say: Callable[[str], None]) -> None:
        """Gives the model the best weights, if they are kept."""
        if not self._keeps_best:
            return
        say(f"The kept weights have the {self}.")
        for kept, weight in zip(self._kept, self._weights, strict=True):
            weight.assign(kept)

    def __str__(self) -> str:
        best = abs(float(self._best.numpy()))
        return f"best {self._metric} {best:.4g} at step {int(self._best_step.numpy())}"
