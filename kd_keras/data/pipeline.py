"""Pairs -> batches: shuffle, load, augment, batch, prefetch."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data import augment as augment_lib
from kd_keras.data.augment import Augmentation
from kd_keras.data.clips import ClipLoader, TooManyBadVideos, num_cores
from kd_keras.data.segments import Pair
from kd_keras.data.video import BadVideo

# Fields of a batch.
OBSERVED = "observed"
FUTURE = "future"
LABEL = "label"
LABELED = "labeled"
INDEX = "index"


def pair_dataset(
    pairs: Sequence[Pair],
    loader: ClipLoader,
    *,
    batch_size: int,
    training: bool,
    seed: int = 0,
    start_step: int = 0,
    augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
    shared_draw: bool = True,
    fields: Sequence[str] = (OBSERVED, FUTURE),
    num_parallel: int | None = None,
) -> tf.data.Dataset:
    """Batches of pairs as dicts, decoded ahead of their use.

    Training is an endless stream in which everything depends on the seed and the
    position alone: every run of `len(pairs)` positions is one shuffled pass over the
    pairs, and a stream begun at `start_step` goes on exactly where another would be. A
    pair that cannot be read is replaced by the next one that can, so that the others
    keep their positions. Evaluation gives each readable pair once, in order, with the
    central crop; its last batch may be smaller. The loader names what was left out.

    Args:
        start_step: Batches of the training stream to skip.
        augmentation: Of training clips.
        shared_draw: Whether both clips of a pair are cropped, mirrored and coloured
            alike (the crops at the same relative position), so that what stays where
            it is keeps its place. Otherwise each has a draw of its own.
        fields: Clips to decode, of "observed" and "future".
        num_parallel: Pairs that are read at a time; None is one per core.
    Returns:
        Dataset of dicts: each field float32 (batch, time, size, size, 3) in [-1, 1],
        "label" int32 (batch,), 0 where there is none, "labeled" bool (batch,) and
        "index" int64 (batch,), the position in `pairs`.
    """
    _check(pairs, batch_size, start_step, fields)
    num_parallel = num_parallel or num_cores()
    labels = np.array([0 if p.label is None else p.label for p in pairs], np.int32)
    labeled = np.array([p.label is not None for p in pairs])
    clip_format = loader.clip_format
    read = _PairReader(pairs, loader, fields, replace=training)

    def load(position):
        index = _shuffled(position, len(pairs), seed) if training else position
        index, *clips = tf.numpy_function(
            read, [index], [tf.int64] + [tf.uint8] * len(fields), stateful=False
        )
        index = tf.ensure_shape(index, [])
        example = {INDEX: index}
        for number, (field, clip) in enumerate(zip(fields, clips, strict=True)):
            clip = tf.ensure_shape(clip, [clip_format.num_frames, None, None, 3])
            own_draw = 0 if shared_draw else number
            example[field] = change(clip, [seed, 2 * position + own_draw])
        return example

    def change(clip, draw_seed):
        size = clip_format.image_size
        if training:
            draws = augment_lib.draw(draw_seed)
            return augment_lib.augment(clip, size, augmentation, draws)
        return augment_lib.centre_crop(clip, size)

    def add_labels(batch):
        index = batch[INDEX]
        batch[LABEL] = tf.gather(tf.constant(labels), index)
        batch[LABELED] = tf.gather(tf.constant(labeled), index)
        return batch

    if training:
        positions = tf.data.Dataset.range(start_step * batch_size, tf.int64.max)
    else:
        positions = tf.data.Dataset.range(len(pairs))
    dataset = positions.map(load, num_parallel, deterministic=True)
    if not training:
        dataset = dataset.filter(lambda example: example[INDEX] >= 0)
    dataset = dataset.batch(batch_size, drop_remainder=training)
    return dataset.map(add_labels).prefetch(2)


class _PairReader:
    """Called by tf.data with a position in `pairs`: that position and its clips.

    Where a clip cannot be read: the next pair that can be with `replace`, else
    position -1 and black clips.
    """

    def __init__(self, pairs, loader, fields, replace):
        self._pairs, self._loader = pairs, loader
        self._fields, self._replace = fields, replace

    def __call__(self, index):
        for step in range(len(self._pairs) if self._replace else 1):
            position = (int(index) + step) % len(self._pairs)
            pair = self._pairs[position]
            try:
                clips = [self._loader.load(getattr(pair, f)) for f in self._fields]
            except TooManyBadVideos:
                raise
            except BadVideo:
                continue
            return [np.int64(position), *clips]
        if self._replace:
            raise ValueError(
                f"None of the {len(self._pairs)} pairs can be read. The videos: "
                f"{self._loader.bad_videos}"
            )
        clip_format = self._loader.clip_format
        side = clip_format.resized_side
        black = np.zeros((clip_format.num_frames, side, side, 3), np.uint8)
        return [np.int64(-1), *[black] * len(self._fields)]


def _check(pairs, batch_size, start_step, fields):
    if not pairs:
        raise ValueError("There are no pairs to make batches of.")
    if batch_size < 1 or start_step < 0:
        raise ValueError(
            "batch_size must be at least 1 and start_step at least 0. Got "
            f"{batch_size} and {start_step}."
        )
    if not fields or set(fields) - {OBSERVED, FUTURE}:
        raise ValueError(
            f"fields must be some of {(OBSERVED, FUTURE)}. Got {tuple(fields)}."
        )


def _shuffled(position, num_pairs, seed):
    """Position of the training stream -> position in `pairs`."""
    epoch, place = position // num_pairs, position % num_pairs
    return tf.random.experimental.index_shuffle(place, [seed, epoch], num_pairs - 1)
