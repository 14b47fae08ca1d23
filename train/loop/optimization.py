"""Optimizers and schedules of learning rates, as the flags name them."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import keras
import tensorflow as tf

from kd_keras.training import gradients
from train.flags.config import Config

LearningRateSchedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule

# The batch that the learning rates of the flags are meant for.
_USUAL_BATCH = 16
# Step schedule: after these shares of the steps the rate falls to a tenth.
_DROPS = (0.5, 0.75)


def optimizer(
    config: Config, steps: int, learning_rate: float
) -> keras.optimizers.Optimizer:
    """Returns the optimizer that the flags describe.

    Args:
        config: The run's `Config`.
        steps: Length of the training.
        learning_rate: Highest rate, for a batch of 16 with --scale_learning_rate.
    """
    training = config.training
    if training.scale_learning_rate:
        learning_rate *= training.batch_size / _USUAL_BATCH
    rate = schedule(training.schedule, learning_rate, steps, training.warmup_steps)
    shared = {"weight_decay": training.weight_decay, "name": training.optimizer}
    if training.clip_norm is not None:
        clip_norm = gradients.clip_norm_of_a_replica(training.clip_norm)
        shared["global_clipnorm"] = clip_norm
    if training.optimizer == "sgd":
        chosen = _RatedSGD(
            rate, momentum=training.momentum, nesterov=training.nesterov, **shared
        )
    else:
        chosen = _RatedAdamW(rate, **shared)
    chosen.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return chosen


def schedule(
    name: str, learning_rate: float, steps: int, warmup_steps: int
) -> LearningRateSchedule:
    """Returns a learning rate schedule with a linear warm-up.

    Args:
        name: "cosine" decays to 0, "step" to a tenth after half and again after three
            quarters of the steps, "constant" not at all.
        learning_rate: Rate after the warm-up.
        steps: Length of the training.
        warmup_steps: Of them, at most all but one.
    """
    warmup_steps = min(warmup_steps, steps - 1)
    if name == "cosine":
        after = keras.optimizers.schedules.CosineDecay(
            learning_rate, steps - warmup_steps
        )
    else:
        drops = _DROPS if name == "step" else ()
        after = keras.optimizers.schedules.PiecewiseConstantDecay(
            # Boundaries belong to the rate before them.
            [round(drop * steps) - warmup_steps - 1 for drop in drops] or [steps],
            [learning_rate * 0.1**number for number in range(len(drops) + 1)]
            if drops
            else [learning_rate, learning_rate],
        )
    return WarmUp(after, learning_rate, warmup_steps)


def set_rates(
    optimizer: keras.optimizers.Optimizer,
    network: keras.Model,
    weights: Iterable[keras.Variable],
    pretrained_rate: float,
) -> None:
    """Multiplies the learning rate of all weights of a network but its head's.

    Args:
        optimizer: What `optimizer` returned, not yet built.
        network: The network; the layer of its head is called Logits.
        weights: All that is trained, in the order that the optimizer is built with.
        pretrained_rate: The factor, in [0, 1].
    """
    pretrained = {
        id(weight)
        for layer in network.layers
        if not layer.name.startswith("Logits")
        for weight in layer.trainable_variables
    }
    optimizer.rates = [
        pretrained_rate if id(weight) in pretrained else 1.0 for weight in weights
    ]


class WarmUp(LearningRateSchedule):
    """Rises linearly to a rate, then follows another schedule from its beginning."""

    def __init__(
        self,
        after: LearningRateSchedule,
        learning_rate: float,
        warmup_steps: int,
    ) -> None:
        super().__init__()
        self.after, self.learning_rate = after, learning_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        step = keras.ops.cast(step, "float32")
        rising = self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        following = self.after(keras.ops.maximum(step - self.warmup_steps, 0.0))
        return keras.ops.where(step < self.warmup_steps, rising, following)

    def get_config(self) -> dict:
        return {
            "after": keras.saving.serialize_keras_object(self.after),
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
        }

    @classmethod
    def from_config(cls, config: dict) -> "WarmUp":
        after = keras.saving.deserialize_keras_object(config["after"])
        return cls(**{**config, "after": after})


class _Rated(keras.optimizers.Optimizer):
    """An optimizer whose weights may have rates of their own, and decay with them.

    Keras evaluates the schedule of the learning rate anew for the decay of each weight,
    which makes thousands of small operations of it. Here a weight decays where it is
    updated, with the rate that it is updated with.

    Attributes:
        rates: Factor of the learning rate of each weight, in the order of the weights;
            empty gives all of them 1.
    """

    rates: Sequence[float] = ()

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        if self.rates:
            learning_rate *= self.rates[self._get_variable_index(variable)]
        if self.weight_decay and self._use_weight_decay(variable):
            self.assign_sub(variable, variable * self.weight_decay * learning_rate)
        super().update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        """Does nothing: `update_step` does."""


class _RatedSGD(_Rated, keras.optimizers.SGD):
    pass


class _FusedAdamW(keras.optimizers.AdamW):
    """AdamW with TensorFlow's own operation for the update of a weight.

    Keras computes it of some twenty operations for each weight: together more than
    forward and backward pass of I3D have.
    """

    def _backend_update_step(
        self,
        grads: Sequence[tf.Tensor],
        trainable_variables: Sequence[keras.Variable],
        learning_rate: tf.Tensor,
    ) -> None:
        step = tf.cast(tf.convert_to_tensor(self.iterations) + 1, tf.float32)
        self._powers = {beta: beta**step for beta in (self.beta_1, self.beta_2)}
        super()._backend_update_step(grads, trainable_variables, learning_rate)

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self._powers[self.beta_1],
            beta2_power=self._powers[self.beta_2],
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


class _RatedAdamW(_Rated, _FusedAdamW):
    pass
