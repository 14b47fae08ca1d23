"""Mixup of pairs: weighted means of two, with targets by the labels or the teacher."""

from collections.abc import Sequence

import tensorflow as tf

from kd_keras.data.batches.fields import (
    FUTURE,
    LABEL,
    LABELED,
    MIXUP_WEIGHT,
    OBSERVED,
    OTHER_LABEL,
)
from kd_keras.data.batches.stream import read_ahead

# Keeps the weights apart from what else is drawn by the same seed.
_DRAW = 0x6D69


def with_mixup(
    batches: tf.data.Dataset,
    share: float,
    *,
    seed: int = 0,
    start_step: int = 0,
    fields: Sequence[str] = (OBSERVED, FUTURE),
) -> tf.data.Dataset:
    """Replaces some pairs of each batch by mixtures of two.

    A mixture is w times one pair plus 1 - w times another of the batch, pixel by pixel,
    with a w between 0 and 1 (https://arxiv.org/abs/1710.09412). Observed and future
    clip are mixed alike, so the teacher sees what the student anticipates. A mixture
    counts as unlabeled: its target is what the teacher says of it
    (https://arxiv.org/abs/2106.05237). Without a teacher, both labels make the target.

    Args:
        batches: As `training_batches` makes them.
        share: Of each batch, 0 to 1. The rest stays as it is.
        seed: The weights are a function of it and of the step.
        start_step: The step of the first batch.
        fields: What is mixed.
    Returns:
        Dataset of the same dicts. "labeled" is False for mixtures. Their "label" and
        "index" belong to the first pair, and "other_label" (batch,) to the second.
        "mixup_weight" (batch,) is w for mixtures and 1 for the rest.
    Raises:
        ValueError: If the share is out of range.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1. Got {share}.")
    key = tf.constant(seed + _DRAW, tf.int64)

    def mix(step, batch):
        size = tf.shape(batch[LABELED])[0]
        num_mixed = tf.cast(tf.round(share * tf.cast(size, tf.float32)), tf.int32)
        is_mixed = tf.range(size) < num_mixed
        drawn = tf.random.stateless_uniform([size], tf.stack([key, step]))
        weights = tf.where(is_mixed, drawn, 1.0)
        mixed = {field: _mixed(batch[field], weights) for field in fields}
        return {
            **batch,
            **mixed,
            LABELED: batch[LABELED] & ~is_mixed,
            OTHER_LABEL: tf.roll(batch[LABEL], 1, 0),
            MIXUP_WEIGHT: weights,
        }

    return read_ahead(batches.enumerate(start_step).map(mix))


def _mixed(clips, weights):
    """Each clip times its weight, and the one before it in the batch times the rest."""
    values = tf.cast(clips, tf.float32)
    weights = tf.reshape(weights, [-1] + [1] * (clips.shape.rank - 1))
    mixed = weights * values + (1 - weights) * tf.roll(values, 1, 0)
    if clips.dtype.is_integer:
        mixed = tf.round(mixed)
    return tf.cast(mixed, clips.dtype)
