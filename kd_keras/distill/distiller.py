"""Trains a student from labels, pseudo-labels and feature maps (paper, eq. 1-2)."""

import keras
import tensorflow as tf

from kd_keras import onednn
from kd_keras.distill import gradients
from kd_keras.distill.fused_batch_norm import training_reader
from kd_keras.distill.rematerialise import rematerialising_reader
from kd_keras.distill.teacher import FrozenTeacher, num_channels
from kd_keras.losses import SoftLabelLoss, soft_targets
from kd_keras.metrics import ClassMeanRecall
from kd_keras.models.answers import gives_probabilities

# The fields of a batch.
OBSERVED, FUTURE, LABEL, LABELED = "observed", "future", "label", "labeled"
TEACHER_PROBABILITIES = "teacher_probabilities"
TEACHER_FEATURES = "teacher_features"


@keras.saving.register_keras_serializable(package="kd_keras")
class Distiller(keras.Model):
    """Trains an anticipation network from a recognition network.

    The loss is the mean over the batch of

        KL(label or teacher's prediction || student(observed))
        + feature_weight * feature_loss(teacher's map, student's map)

    with the label where `labeled`, the teacher's prediction elsewhere. A batch is a
    dict:

        observed: Clips (batch, time, height, width, channels) in [-1, 1].
        future: The teacher's clips, any size the teacher takes. Or, in its place, what
            the teacher said of them: `teacher_probabilities` (batch, num_classes)
            and, for a feature loss, `teacher_features` (batch, ..., channels).
        label: Class indices (batch,); any where not labeled.
        labeled: Booleans (batch,).

    Only the student is trained, and the 1x1x1 projection of its map that exists where
    the two maps differ in channels. Calling the distiller calls the student.

    Args:
        student: A functional Keras model from clips to logits.
        teacher: Another over the same classes, which may end in a softmax instead, or
            None: every batch brings the teacher's targets.
        feature_loss: A loss over (teacher's map, student's map) that gives a value
            per example, such as `AttentionalPoolingLoss`; None uses no maps.
        feature_weight: λ, >= 0, of the mean feature loss: a number, or a function of
            the step such as `keras.optimizers.schedules` has.
        feature_layer: Name of the layer whose maps are compared.
        teacher_feature_layer: Its name in the teacher, where it has another.
        temperature: > 0, softens pseudo-labels and the student's answer to them.
        feature_channels: Channels of stored teacher maps; only where teacher is None
            and they differ from the student's.
        rematerialise: Whether the student is trained in less memory, by computing
            most of its maps twice.
    Raises:
        ValueError: For values out of range, layers that do not exist, or a student
            that ends in a softmax or sigmoid.
    """

    def __init__(
        self,
        student,
        teacher,
        feature_loss=None,
        feature_weight=1.0,
        feature_layer="Mixed_5c",
        temperature=1.0,
        feature_channels=None,
        teacher_feature_layer=None,
        rematerialise=False,
        name="distiller",
    ):
        super().__init__(name=name)
        if not tf.config.list_physical_devices("GPU"):
            onednn.warn_if_too_late()
        if not callable(feature_weight) and feature_weight < 0:
            raise ValueError(f"feature_weight must be >= 0. Got {feature_weight}.")
        if gives_probabilities(student):
            raise ValueError(
                f"The student {student.name} ends in a softmax, and its loss is of "
                "logits: it would get a second one. Remove the last softmax; "
                "export.main adds it for serving."
            )
        if teacher is not None and teacher.output.shape[-1] != student.output.shape[-1]:
            raise ValueError(
                "Teacher and student must know the same classes. Got "
                f"{teacher.output.shape[-1]} and {student.output.shape[-1]}."
            )
        if teacher_feature_layer is None:
            teacher_feature_layer = feature_layer
        if feature_loss is None:
            feature_layer = teacher_feature_layer = None
        self.student = student
        self.feature_weight = feature_weight
        self._label_loss = SoftLabelLoss(temperature=temperature)
        self.teacher = None
        if teacher is not None:
            self.teacher = FrozenTeacher(teacher, teacher_feature_layer)
        self.projection = None
        reader = rematerialising_reader if rematerialise else training_reader
        self._read_student = reader(student, feature_layer)
        self._feature_loss = None
        if feature_loss is not None:
            # XLA fuses the softmax chains of the loss; convolutions stay outside, as
            # its 3D convolutions are slow on CPUs.
            self._feature_loss = tf.function(feature_loss.call, jit_compile=True)
            if teacher is not None:
                feature_channels = num_channels(teacher, teacher_feature_layer)
            channels = num_channels(student, feature_layer)
            if feature_channels not in (None, channels):
                self.projection = keras.layers.Dense(
                    feature_channels, name="projection"
                )
                self.projection.build((None, channels))
        num_classes = student.output.shape[-1]
        self._terms = {
            term: keras.metrics.Mean(name=term)
            for term in ("loss", "label_loss", "pseudo_label_loss", "feature_loss")
        }
        self._scores = [
            keras.metrics.SparseTopKCategoricalAccuracy(1, name="top1"),
            keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5"),
            ClassMeanRecall(num_classes),
        ]
        self._agreement = keras.metrics.Mean(name="agreement")
        self.built = True

    @property
    def metrics(self):
        return [*self._terms.values(), *self._scores, self._agreement]

    def call(self, clips, training=False):
        return self.student(clips, training=training)

    def train_step(self, batch):
        self.learn(batch)
        return self.get_metrics_result()

    def test_step(self, batch):
        targets = self._teacher_targets(batch)
        outputs = self._student_outputs(batch, training=False)
        losses = self._example_losses(batch, targets, outputs)
        self._update_metrics(batch, targets, outputs, losses)
        return self.get_metrics_result()

    def learn(self, batch):
        """Takes one step; returns the batch's loss and its terms, by name."""
        targets = self._teacher_targets(batch)
        with tf.GradientTape() as tape:
            outputs = self._student_outputs(batch, training=True)
            losses = self._example_losses(batch, targets, outputs)
            terms = self._loss_terms(batch, losses)
            scaled = gradients.scaled(sum(terms.values()), self.optimizer)
        gradients.apply(tape, scaled, self.trainable_variables, self.optimizer)
        self._update_metrics(batch, targets, outputs, losses)
        return {"loss": sum(terms.values()), **terms}

    def gradient_norms(self, batch):
        """Returns the norm of the gradient of each term of the loss, by name.

        Of the networks as they stand: without dropout, and BatchNorm does not learn.
        """
        targets = self._teacher_targets(batch)
        with tf.GradientTape(persistent=True) as tape:
            outputs = self._student_outputs(batch, training=False)
            losses = self._example_losses(batch, targets, outputs)
            terms = self._loss_terms(batch, losses)
        return gradients.norms(tape, terms, self.trainable_variables)

    def _teacher_targets(self, batch):
        """Returns the teacher's (probabilities, feature map) of the future clips."""
        if TEACHER_PROBABILITIES in batch:
            return batch[TEACHER_PROBABILITIES], batch.get(TEACHER_FEATURES)
        if self.teacher is None:
            raise ValueError(
                "A distiller without a teacher needs batches with "
                f"{TEACHER_PROBABILITIES!r}. Got the fields {sorted(batch)}."
            )
        return self.teacher(batch[FUTURE])

    def _student_outputs(self, batch, training):
        logits, features = self._read_student(batch[OBSERVED], training=training)
        if self.projection is not None:
            features = self.projection(features)
        return logits, features

    def _example_losses(self, batch, targets, outputs):
        """Returns the divergence and the feature loss (or None), by example."""
        (probabilities, teacher_features), (logits, features) = targets, outputs
        labeled = tf.cast(batch[LABELED], tf.bool)
        label_targets = soft_targets(batch[LABEL], labeled, probabilities)
        divergence = self._label_loss.call((label_targets, labeled), logits)
        if self._feature_loss is None:
            return divergence, None
        if teacher_features is None:
            raise ValueError(
                f"A feature loss needs {TEACHER_FEATURES!r} beside "
                f"{TEACHER_PROBABILITIES!r}. Got the fields {sorted(batch)}."
            )
        return divergence, self._feature_loss(teacher_features, features)

    def _loss_terms(self, batch, losses):
        """Returns what each kind of target adds to the mean loss, by name."""
        divergence, feature = losses
        labeled = tf.cast(batch[LABELED], tf.float32)
        terms = {
            "label": tf.reduce_mean(labeled * divergence),
            "pseudo_label": tf.reduce_mean((1 - labeled) * divergence),
        }
        if feature is not None:
            terms["feature"] = self._weight() * tf.reduce_mean(feature)
        return terms

    def _weight(self):
        if not callable(self.feature_weight):
            return self.feature_weight
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        return self.feature_weight(optimizer.iterations)

    def _update_metrics(self, batch, targets, outputs, losses):
        (probabilities, _), (logits, _), (divergence, feature) = (
            targets,
            outputs,
            losses,
        )
        label, labeled = batch[LABEL], tf.cast(batch[LABELED], tf.float32)
        terms = self._loss_terms(batch, losses)
        self._terms["loss"].update_state(sum(terms.values()))
        self._terms["label_loss"].update_state(divergence, labeled)
        self._terms["pseudo_label_loss"].update_state(divergence, 1 - labeled)
        if feature is not None:
            self._terms["feature_loss"].update_state(feature)
        for score in self._scores:
            score.update_state(label, logits, labeled)
        same = tf.argmax(logits, -1) == tf.argmax(probabilities, -1)
        self._agreement.update_state(tf.cast(same, tf.float32))
