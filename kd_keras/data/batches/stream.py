"""What all streams of batches share: their positions, labels, and reading ahead."""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data.batches.fields import INDEX, LABEL, LABELED
from kd_keras.data.batches.order import SampleOrder, SamplingPolicy
from kd_keras.data.parallel import num_cores
from kd_keras.data.segments import Pair


@dataclasses.dataclass(frozen=True)
class Stream:
    """An endless stream of training batches, in which position and seed decide all.

    Every run of `len(pairs)` positions is one shuffled pass over the pairs, and a
    stream begun at `start_step` goes on exactly where another would be.

    Attributes:
        pairs: What is shown.
        batch_size: Pairs in a batch, of all workers together.
        seed: Of the order and of what is drawn.
        start_step: Batches to skip.
        views: Augmented views of a pair, shown in turn by the passes; the same under
            every seed. 0 draws a new one at each position.
        sampling: How often pairs are shown.
    """

    pairs: Sequence[Pair]
    batch_size: int
    seed: int = 0
    start_step: int = 0
    views: int = 0
    sampling: SamplingPolicy = dataclasses.field(default_factory=SamplingPolicy)

    def __post_init__(self):
        check(self.pairs, self.batch_size)
        if self.start_step < 0:
            raise ValueError(f"start_step must be at least 0. Got {self.start_step}.")

    @property
    def positions(self) -> tf.data.Dataset:
        """The numbers of the examples from `start_step` on."""
        return tf.data.Dataset.range(self.start_step * self.batch_size, tf.int64.max)

    @property
    def order(self) -> SampleOrder:
        """Which pair each position shows."""
        return SampleOrder(self.pairs, self.seed, self.views, self.sampling)


def check(pairs: Sequence[Pair], batch_size: int) -> None:
    """Raises a ValueError if no batches can be made."""
    if not pairs:
        raise ValueError("There are no pairs to make batches of.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1. Got {batch_size}.")


def examples(
    positions: tf.data.Dataset, read: Callable, shapes: dict, dtype: tf.DType
) -> tf.data.Dataset:
    """The examples at positions, read by Python on every core, in order.

    Args:
        read: Position -> a pair's index, then an array for each field.
        shapes: Of the arrays, by field.
        dtype: Of the arrays.
    """

    def load(position):
        types = [tf.int64] + [dtype] * len(shapes)
        index, *arrays = tf.numpy_function(read, [position], types, stateful=False)
        example = {INDEX: tf.ensure_shape(index, [])}
        for field, array in zip(shapes, arrays, strict=True):
            example[field] = tf.ensure_shape(array, shapes[field])
        return example

    return positions.map(load, num_cores(), deterministic=True)


def labeler(pairs: Sequence[Pair]) -> Callable[[dict], dict]:
    """Returns the function that adds "label" and "labeled" to a batch."""
    labels = np.array([0 if p.label is None else p.label for p in pairs], np.int32)
    labeled = np.array([p.label is not None for p in pairs])

    def add(batch):
        return batch | {
            LABEL: tf.gather(labels, batch[INDEX]),
            LABELED: tf.gather(labeled, batch[INDEX]),
        }

    return add


def read_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The batches, two of them made before they are asked for."""
    options = tf.data.Options()
    # Nothing is left to tune, and the end of a pass would wait for the tuner, up to
    # seconds.
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


def refusal(error: tf.errors.OpError) -> str | None:
    """Returns what a reader says is wrong with the data, if it ended a stream.

    Args:
        error: What tf.data raised. It holds the text and the traceback of what its
            Python functions raise.
    """
    text, *traceback = error.message.split("\nTraceback (most recent call last)")
    said = re.search(
        r"\b(?:TooManyBadVideos|ValueError|OSError): (.*)", text, re.DOTALL
    )
    return said[1] if traceback and said else None
