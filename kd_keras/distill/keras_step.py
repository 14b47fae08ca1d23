"""What the distiller's training step on JAX and on PyTorch has in common."""

import keras
from keras import ops

from kd_keras.distill.gradient_ratio import GradientRatioWeight, Schedule
from kd_keras.distill.terms import (
    Batch,
    DistillationTerms,
    Outputs,
    Reader,
    batch_of,
)
from kd_keras.losses.tensor import Tensor
from kd_keras.training.feature_reader import feature_reader


class KerasStep(DistillationTerms):
    """What of the `Distiller` is not TensorFlow's.

    Keras's own step calls the model with a batch, asks `compute_loss` for a number, and
    goes down its gradient. On JAX it compiles all of that.
    """

    def _prepare(
        self,
        student: keras.Model,
        layers: tuple[str, ...],
        feature_loss: keras.losses.Loss | None,
        gradient_ratio: Schedule | None,
        rematerialize: bool,
    ) -> None:
        if rematerialize:
            raise ValueError("rematerialize=True needs KERAS_BACKEND=tensorflow.")
        self._auto = None
        if gradient_ratio is not None:
            self._auto = GradientRatioWeight(gradient_ratio)
        self._read_student = self._reader(student, layers or None)
        self._feature_loss = None if feature_loss is None else feature_loss.call
        # The optimizer's own counter is a constant to a compiled `compute_loss`.
        self._step = self.add_weight(
            name="step", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    def _reader(self, student: keras.Model, layers: tuple[str, ...] | None) -> Reader:
        """Returns what reads the student's logits and maps."""
        return feature_reader(student, layers)

    def call(self, inputs: Tensor | Batch, training: bool = False) -> Tensor | Outputs:
        """The student's logits of clips; of a batch, its logits and projected maps."""
        if isinstance(inputs, dict):
            return self._student_outputs(batch_of(inputs), training)
        return self.student(inputs, training=training)

    def compute_loss(
        self,
        x: Batch,
        y: None,
        y_pred: Outputs,
        sample_weight: None = None,
        training: bool = True,
    ) -> Tensor:
        x = batch_of((x, y, sample_weight))
        targets = self._teacher_targets(x)
        losses = self._example_losses(x, targets, y_pred)
        terms = self._loss_terms(x, losses, self.current_feature_weight())
        loss = sum(terms.values()) + self._students_own_losses()
        self._update_metrics(x, targets, y_pred, losses, loss)
        if training:
            self._step.assign(self._step + 1)
        return loss

    def compute_metrics(
        self, x: Batch, y: None, y_pred: Outputs, sample_weight: None = None
    ) -> dict[str, Tensor]:
        return self.get_metrics_result()

    def current_feature_weight(self) -> Tensor:
        """Returns λ of the next step."""
        weight = self.feature_weight if self._auto is None else self._auto.at
        if not callable(weight):
            return weight
        optimizer: keras.optimizers.Optimizer = getattr(
            self.optimizer, "inner_optimizer", self.optimizer
        )
        # A step of the optimizer is that of so many batches.
        batches = optimizer.gradient_accumulation_steps or 1
        return weight(ops.floor_divide(ops.convert_to_tensor(self._step), batches))

    def _follow_slopes(
        self, weight: Tensor, all_terms: Tensor, feature_term: Tensor
    ) -> None:
        """Takes a step's gradients for the map into the averages behind λ."""
        others = all_terms - feature_term
        norms = (ops.sqrt(ops.sum(ops.square(g))) for g in (others, feature_term))
        self._follow(weight, *norms)
