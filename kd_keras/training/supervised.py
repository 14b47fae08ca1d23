"""Trains a network from labels alone, on one of the two clips of each pair."""

import keras
import tensorflow as tf

from kd_keras.data.batches.fields import LABEL, LABELED, MIXUP_WEIGHT, OTHER_LABEL
from kd_keras.training import gradients
from kd_keras.training.fused_batch_norm import training_reader
from kd_keras.training.rematerialize import rematerializing_reader


class SupervisedTrainer(keras.Model):
    """Minimizes the cross-entropy of a network; takes steps as `Distiller` does.

    The target of a mixture (`with_mixup`) is the mixture of its two labels, and its
    accuracy is not counted.

    Args:
        network: A Keras model from clips to logits.
        field: The field of a batch that the network sees.
        label_smoothing: Share of the target that all classes have in equal parts.
        rematerialize: Whether it is trained in less memory, by computing most of its
            maps twice.
    """

    def __init__(
        self,
        network,
        field,
        label_smoothing=0.0,
        rematerialize=False,
        name="supervised_trainer",
    ):
        super().__init__(name=name)
        self.network, self._field = network, field
        reader = rematerializing_reader if rematerialize else training_reader
        self._read = reader(network)
        self._cross_entropy = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing, reduction=None
        )
        self._num_classes = network.outputs[0].shape[-1]
        self._loss = keras.metrics.Mean(name="loss")
        self._top1 = keras.metrics.SparseCategoricalAccuracy(name="top1")
        self.built = True

    @property
    def metrics(self):
        return [self._loss, self._top1]

    def call(self, clips, training=False):
        return self.network(clips, training=training)

    def train_step(self, batch):
        self.learn(batch)
        return self.get_metrics_result()

    def learn(self, batch):
        """Takes one step; returns the terms of the batch's loss, by name."""
        targets = self._targets(batch)
        with tf.GradientTape() as tape:
            logits, _ = self._read(batch[self._field], training=True)
            losses = self._cross_entropy(targets, tf.cast(logits, tf.float32))
            loss = tf.reduce_mean(losses)
            scaled = gradients.scale_loss(loss, self.optimizer)
        gradients.apply(tape, scaled, self.trainable_variables, self.optimizer)
        self._loss.update_state(losses)
        self._top1.update_state(batch[LABEL], logits, batch.get(LABELED))
        return {"loss": loss}

    def _targets(self, batch):
        targets = tf.one_hot(batch[LABEL], self._num_classes)
        if MIXUP_WEIGHT not in batch:
            return targets
        weights = batch[MIXUP_WEIGHT][:, None]
        others = tf.one_hot(batch[OTHER_LABEL], self._num_classes)
        return weights * targets + (1 - weights) * others

    def gradient_norms(self, batch):
        """Returns nothing: there is one term."""
        del batch
        return {}
