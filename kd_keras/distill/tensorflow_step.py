"""The distiller's training step on TensorFlow, alone or under tf.distribute."""

import keras
import tensorflow as tf

from kd_keras import onednn
from kd_keras.distill.gradient_ratio import GradientRatioWeight, Schedule
from kd_keras.distill.terms import Batch, Data, DistillationTerms, batch_of
from kd_keras.training import gradients
from kd_keras.training.fused_batch_norm import training_reader
from kd_keras.training.rematerialize import rematerializing_reader


class TensorFlowStep(DistillationTerms):
    """What of the `Distiller` is TensorFlow's."""

    def _prepare(
        self,
        student: keras.Model,
        layers: tuple[str, ...],
        feature_loss: keras.losses.Loss | None,
        gradient_ratio: Schedule | None,
        rematerialize: bool,
    ) -> None:
        """Keeps the readers and losses in the form that is fast here."""
        if not tf.config.list_physical_devices("GPU"):
            onednn.warn_if_too_late()
        reader = rematerializing_reader if rematerialize else training_reader
        self._read_student = reader(student, layers or None)
        self._auto = None
        if gradient_ratio is not None:
            self._auto = GradientRatioWeight(gradient_ratio)
        self._feature_loss = None
        if feature_loss is not None:
            # XLA fuses the softmax chains of the loss; convolutions stay outside, as
            # its 3D convolutions are slow on CPUs.
            self._feature_loss = tf.function(
                feature_loss.call, autograph=False, jit_compile=True
            )

    def call(self, clips: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.student(clips, training=training)

    def train_step(self, data: Data) -> dict[str, tf.Tensor]:
        batch = batch_of(data)
        self.learn(batch)
        return self.get_metrics_result()

    def test_step(self, data: Data) -> dict[str, tf.Tensor]:
        batch = batch_of(data)
        targets = self._teacher_targets(batch)
        outputs = self._student_outputs(batch, training=False)
        losses = self._example_losses(batch, targets, outputs)
        terms = self._loss_terms(batch, losses, self.current_feature_weight())
        loss = sum(terms.values()) + self._students_own_losses()
        self._update_metrics(batch, targets, outputs, losses, loss)
        return self.get_metrics_result()

    def _maybe_symbolic_build(self, *_: object, **__: object) -> None:
        # Under tf.distribute Keras would take the mean of a batch over all replicas,
        # which Booleans do not have. Only the optimizer is left to be built.
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def learn(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Takes one step; returns the batch's loss and its terms, by name."""
        targets = self._teacher_targets(batch)
        beside: tuple[tf.Tensor, ...] = ()
        weight = self.current_feature_weight()
        with tf.GradientTape() as tape:
            logits, maps = self._read(batch, training=True)
            if self._auto is not None:
                # One tensor for the feature loss, another for the rest of the network:
                # a single backward pass then tells their gradients apart.
                *maps, deepest = maps
                beside = deepest, tf.identity(deepest)
                maps = *maps, beside[-1]
            outputs = logits, self._projected(maps)
            losses = self._example_losses(batch, targets, outputs)
            terms = self._loss_terms(batch, losses, weight)
            loss = sum(terms.values()) + self._students_own_losses()
            scaled = gradients.scale_loss(loss, self.optimizer)
        known = gradients.apply(
            tape, scaled, self.trainable_variables, self.optimizer, beside
        )
        if self._auto is not None:
            all_terms, feature_term = known
            self._follow(
                weight,
                gradients.norm_over_replicas(all_terms - feature_term),
                gradients.norm_over_replicas(feature_term),
            )
        self._update_metrics(batch, targets, outputs, losses, loss)
        return {"loss": loss, **terms}

    def current_feature_weight(self) -> float | tf.Tensor:
        """Returns λ of the next step."""
        weight = self.feature_weight if self._auto is None else self._auto.at
        if not callable(weight):
            return weight
        optimizer: keras.optimizers.Optimizer = getattr(
            self.optimizer, "inner_optimizer", self.optimizer
        )
        return weight(optimizer.iterations)

    def gradient_norms(self, batch: Batch) -> dict[str, tf.Tensor]:
        """Returns the norm of each term's gradient, by name.

        The gradients are taken for the map of the last feature layer, as the weight
        "auto" takes them. Without a feature loss nothing is compared and the answer is
        empty. The networks are taken as they stand: without dropout, and BatchNorm
        does not learn.
        """
        if self._feature_loss is None:
            return {}
        targets = self._teacher_targets(batch)
        with tf.GradientTape(persistent=True) as tape:
            logits, maps = self._read(batch, training=False)
            outputs = logits, self._projected(maps)
            losses = self._example_losses(batch, targets, outputs)
            terms = self._loss_terms(batch, losses, self.current_feature_weight())
        return gradients.norms(tape, terms, maps[-1])
