"""The exponential moving average of a network's weights."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf


class WeightEMA:
    """Follows the trained weights: average = decay * average + (1 - decay) * weight.

    The decay grows to its value as (1 + n) / (10 + n) over the updates n, so that the
    random start is soon forgotten. BatchNorm's statistics are averages already.

    Args:
        weights: Keras variables.
        decay: In [0, 1); 0 keeps no average, and the weights stand for themselves.
    Attributes:
        variables: Its state.
    """

    def __init__(self, weights: Sequence[keras.Variable], decay: float) -> None:
        self._weights, self._decay = weights, decay
        self.variables = []
        if decay:
            self._averages = [_like(weight) for weight in weights]
            self._updates = keras.Variable(
                0.0, trainable=False, aggregation="only_first_replica", name="updates"
            )
            self.variables = [*self._averages, self._updates]

    def update(self) -> None:
        """Follows the weights by one step; called by every replica."""
        if not self._decay:
            return
        number = tf.convert_to_tensor(self._updates)
        decay = tf.minimum(self._decay, (1 + number) / (10 + number))
        for weight, average in zip(self._weights, self._averages, strict=True):
            before = tf.convert_to_tensor(average)
            average.assign(
                before + (1 - decay) * (tf.convert_to_tensor(weight) - before)
            )
        self._updates.assign(number + 1)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Context manager: temporarily replaces the weights by their average."""
        if not self._decay:
            yield
            return
        own = [tf.identity(weight.value) for weight in self._weights]
        self.apply()
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own, strict=True):
                weight.assign(value)

    def apply(self) -> None:
        """Replaces the weights by their moving averages for good."""
        if self._decay:
            for weight, average in zip(self._weights, self._averages, strict=True):
                weight.assign(tf.convert_to_tensor(average.value))


def _like(weight: keras.Variable) -> keras.Variable:
    return keras.Variable(
        tf.convert_to_tensor(weight.value),
        dtype=weight.dtype,
        trainable=False,
        aggregation="only_first_replica",
        name=f"{weight.name}_average",
    )
