"""Pairs -> batches: shuffle, read, augment, batch, prefetch."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data.batches.fields import FUTURE, INDEX, OBSERVED
from kd_keras.data.batches.order import rows_of_worker
from kd_keras.data.batches.stream import Stream, check, examples, labeler, read_ahead
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.loader import ClipReader
from kd_keras.data.clips.views import (
    augmented,
    evaluated,
    normalize_batch,
    pair_params,
    view_params,
)
from kd_keras.data.segments import Pair
from kd_keras.data.video.info import BadVideo

_UNREADABLE = np.int64(-1)


def training_batches(
    stream: Stream,
    loader: ClipReader,
    *,
    shard: tuple[int, int] = (0, 1),
    augmentation: Augmentation = Augmentation(),  # noqa: B008 - frozen
    same_augmentation: bool = True,
    fields: Sequence[str] = (OBSERVED, FUTURE),
    as_uint8: bool = False,
) -> tf.data.Dataset:
    """Endless batches of pairs as dicts, decoded ahead of their use.

    A pair that cannot be read is replaced by the next one that can, so that the others
    keep their positions; with `labeled_per_batch` by one that is labeled if it is. The
    loader names what was left out.

    Args:
        stream: Which pairs are shown, from which step on.
        shard: (worker, count): the batches have only the rows of this one of several
            workers, `rows_of_worker`.
        augmentation: Of the clips.
        same_augmentation: Whether both clips of a pair are cropped and mirrored and
            their colors changed alike (the crops at the same relative position), so
            that what stays where it is keeps its place. Otherwise each has parameters
            of its own.
        fields: Clips to decode, of "observed" and "future".
        as_uint8: Whether clips stay uint8, a quarter of the memory on their way to the
            device, where `normalize_batch` belongs into the step.
    Returns:
        Dataset of dicts: each field float32 (batch, time, size, size, channels) in
        [-1, 1], or uint8, RGB or optical flow as the loader's format says,
        "label" int32 (batch,), 0 if there is none, "labeled" bool (batch,) and
        "index" int64 (batch,), the position in `stream.pairs`.
    """
    size = stream.batch_size
    own = rows_of_worker(*shard, size)
    read = _TrainingReader(
        stream.order, loader, fields, augmentation, same_augmentation
    )
    positions = stream.positions
    if len(own) < size:
        positions = positions.filter(
            lambda p: (p % size >= own.start) & (p % size < own.stop)
        )
    clip_format = loader.clip_format
    shapes = _shapes(fields, clip_format.input_shape)
    batches = examples(positions, read, shapes, clip_format.dtype).batch(
        len(own), drop_remainder=True
    )
    flow_scale = None if as_uint8 else clip_format.flow_scale
    return _finished(batches, stream.pairs, flow_scale)


def evaluation_batches(
    pairs: Sequence[Pair],
    loader: ClipReader,
    *,
    batch_size: int,
    corners: bool = False,
    fields: Sequence[str] = (OBSERVED, FUTURE),
) -> tf.data.Dataset:
    """Batches of each readable pair once, in order, with the central crop.

    Args:
        pairs: What is shown.
        batch_size: The last batch may be smaller.
        corners: Whether to give the crops in the corners, too: clips then have an axis
            behind the batch, of the central crop and the four.
        fields: As in `training_batches`.
    Returns:
        Dataset of dicts as `training_batches` has them, of float32 clips.
    """
    check(pairs, batch_size)
    read = _EvaluationReader(pairs, loader, fields, corners)
    clip_format = loader.clip_format
    shape = clip_format.input_shape
    shapes = _shapes(fields, (5, *shape) if corners else shape)
    positions = tf.data.Dataset.range(len(pairs))
    batches = (
        examples(positions, read, shapes, clip_format.dtype)
        .filter(lambda pair: pair[INDEX] != _UNREADABLE)
        .batch(batch_size)
    )
    return _finished(batches, pairs, clip_format.flow_scale)


def _shapes(fields, shape):
    if not fields or set(fields) - {OBSERVED, FUTURE}:
        raise ValueError(
            f"fields must be some of {(OBSERVED, FUTURE)}. Got {tuple(fields)}."
        )
    return dict.fromkeys(fields, shape)


def _finished(batches, pairs, flow_scale):
    """The batches with labels, and normalized unless `flow_scale` is None."""
    add_labels = labeler(pairs)

    def finish(batch):
        if flow_scale is not None:
            batch = normalize_batch(batch, flow_scale)
        return add_labels(batch)

    return read_ahead(batches.map(finish))


class _TrainingReader:
    """Called by tf.data with a position in the stream: a pair's index and its clips."""

    def __init__(self, order, loader, fields, augmentation, same_augmentation):
        self._order, self._loader, self._fields = order, loader, fields
        self._augmentation, self._same_augmentation = augmentation, same_augmentation

    def __call__(self, position):
        position = int(position)
        index, clips = self._readable_pair(position)
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

    def _readable_pair(self, position):
        for index in self._order.candidates(position):
            clips = _read_pair(self._order.pairs[index], self._loader, self._fields)
            if clips is not None:
                return index, clips
        number = len([*self._order.candidates(position)])
        raise ValueError(
            f"None of the {number} pairs can be read. The videos: "
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
