"""Pairs -> batches: shuffle, read, augment, batch, prefetch."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data.batches.fields import FUTURE, INDEX, LABEL, LABELED, OBSERVED
from kd_keras.data.batches.order import SampleOrder, SamplingPolicy
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.clips.views import (
    augmented,
    evaluated,
    normalize_batch,
    pair_params,
    view_params,
)
from kd_keras.data.parallel import num_cores
from kd_keras.data.segments import Pair
from kd_keras.data.video.info import BadVideo

_UNREADABLE = np.int64(-1)


def pair_dataset(
    pairs: Sequence[Pair],
    loader: ClipLoader,
    *,
    batch_size: int,
    training: bool,
    seed: int = 0,
    start_step: int = 0,
    views: int = 0,
    sampling: SamplingPolicy = SamplingPolicy(),  # noqa: B008 - frozen
    shard: tuple[int, int] = (0, 1),
    augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
    same_augmentation: bool = True,
    corners: bool = False,
    fields: Sequence[str] = (OBSERVED, FUTURE),
    as_uint8: bool = False,
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
        views: Augmented views of a pair, shown in turn by the passes; the same under
            every seed. 0 draws a new one at each position.
        sampling: How often pairs are shown in training.
        shard: (number, count) gives every count-th row of the training batches from
            that number on: the part of one of several workers.
        augmentation: Of training clips.
        same_augmentation: Whether both clips of a pair are cropped and mirrored and
            their colors changed alike (the crops at the same relative position), so
            that what stays where it is keeps its place. Otherwise each has parameters
            of its own.
        corners: Whether evaluation also gives the crops in the corners: clips then
            have an axis behind the batch, of the central crop and the four.
        fields: Clips to decode, of "observed" and "future".
        as_uint8: Whether clips stay uint8, a quarter of the memory on their way to the
            device, where `normalize_batch` belongs into the step.
        num_parallel: Pairs that are read at a time; None is one per core.
    Returns:
        Dataset of dicts: each field float32 (batch, time, size, size, channels) in
        [-1, 1], or uint8, RGB or optical flow as the loader's format says,
        "label" int32 (batch,), 0 if there is none, "labeled" bool (batch,) and
        "index" int64 (batch,), the position in `pairs`.
    """
    _check(pairs, batch_size, start_step, fields)
    labels = np.array([0 if p.label is None else p.label for p in pairs], np.int32)
    labeled = np.array([p.label is not None for p in pairs])
    clip_format = loader.clip_format
    clip_shape = clip_format.input_shape
    if training:
        order = SampleOrder(pairs, seed, views, sampling)
        read = _TrainingReader(order, loader, fields, augmentation, same_augmentation)
        positions = tf.data.Dataset.range(start_step * batch_size, tf.int64.max)
        number, count = shard
        positions = positions.shard(count, number)
        batch_size //= count
    else:
        read = _EvaluationReader(pairs, loader, fields, corners)
        clip_shape = (5, *clip_shape) if corners else clip_shape
        positions = tf.data.Dataset.range(len(pairs))

    def load(position):
        types = [tf.int64] + [clip_format.dtype] * len(fields)
        index, *clips = tf.numpy_function(read, [position], types, stateful=False)
        pair = {INDEX: tf.ensure_shape(index, [])}
        for field, clip in zip(fields, clips, strict=True):
            pair[field] = tf.ensure_shape(clip, clip_shape)
        return pair

    def finish(batch):
        if not as_uint8:
            batch = normalize_batch(batch, clip_format.flow_scale)
        batch[LABEL] = tf.gather(labels, batch[INDEX])
        batch[LABELED] = tf.gather(labeled, batch[INDEX])
        return batch

    dataset = positions.map(load, num_parallel or num_cores(), deterministic=True)
    if not training:
        dataset = dataset.filter(lambda pair: pair[INDEX] != _UNREADABLE)
    dataset = dataset.batch(batch_size, drop_remainder=training)
    return read_ahead(dataset.map(finish))


def read_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """The batches, two of them made before they are asked for."""
    options = tf.data.Options()
    # Nothing is left to tune, and the end of a pass would wait for the tuner, up to
    # seconds.
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


class _TrainingReader:
    """Called by tf.data with a position in the stream: a pair's index and its clips."""

    def __init__(self, order, loader, fields, augmentation, same_augmentation):
        self._order, self._loader, self._fields = order, loader, fields
        self._augmentation, self._same_augmentation = augmentation, same_augmentation

    def __call__(self, position):
        position = int(position)
        index, clips = self._readable_pair(self._order.index(position))
        params = self._params(position, index)
        clip_format = self._loader.clip_format
        clips = augmented(clips, params, clip_format, self._augmentation)
        return [np.int64(index), *clips]

    def _params(self, position, index):
        order = self._order
        if not order.views:
            return pair_params(order.seed, position, self._same_augmentation)
        pair = order.pairs[index]
        return view_params(pair, order.view(position), self._same_augmentation)

    def _readable_pair(self, first):
        pairs = self._order.pairs
        for step in range(len(pairs)):
            index = (first + step) % len(pairs)
            clips = _read_pair(pairs[index], self._loader, self._fields)
            if clips is not None:
                return index, clips
        raise ValueError(
            f"None of the {len(pairs)} pairs can be read. The videos: "
            f"{self._loader.bad_videos}"
        )


class _EvaluationReader:
    """Called by tf.data with an index into `pairs`: it and the centers of its clips."""

    def __init__(self, pairs, loader, fields, corners):
        self._pairs, self._loader, self._fields = pairs, loader, fields
        self._corners = corners

    def __call__(self, index):
        clip_format = self._loader.clip_format
        clips = _read_pair(self._pairs[index], self._loader, self._fields)
        if clips is None:
            index, clips = _UNREADABLE, [clip_format.blank_clip] * len(self._fields)
        seen = (evaluated(clip, clip_format, self._corners) for clip in clips)
        return [index, *seen]


def _read_pair(pair, loader, fields):
    """The clips of a pair; None if one cannot be read."""
    try:
        return [loader.load(getattr(pair, field)) for field in fields]
    except BadVideo:
        return None


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
