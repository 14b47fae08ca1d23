"""Stored features -> batches."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data.batches import from_clips, order
from kd_keras.data.batches.fields import INDEX, LABEL, LABELED, OBSERVED
from kd_keras.data.parallel import num_cores
from kd_keras.data.records import media_sequence, shards
from kd_keras.data.records.features import feature_key
from kd_keras.data.segments import Pair


def feature_dataset(
    pairs: Sequence[Pair],
    records: shards.Shards,
    *,
    batch_size: int,
    views: int,
    prefixes: Sequence[str],
    seed: int = 0,
    start_step: int = 0,
    sampling: order.SamplingPolicy = order.SamplingPolicy(),  # noqa: B008 - frozen
    num_parallel: int | None = None,
) -> tf.data.Dataset:
    """The training batches of `pipeline.pair_dataset`, from stored features.

    The same seed and views give the same pairs and views at each position, so that
    training behind the stored layer sees what it would see with videos.

    Args:
        pairs: As given to `pipeline.pair_dataset`.
        records: That hold `views` views of every pair, but of those left out.
        prefixes: Arrays that a batch holds, first `STUDENT_INPUT`.
        sampling: How often pairs are shown.
    Returns:
        Dataset of dicts: "observed" holds what reaches the layer; each other prefix
        its array, float32; "label", "labeled" and "index" as in `pair_dataset`.
    Raises:
        ValueError: If records are missing.
    """
    reader = _Reader(pairs, records, prefixes, seed, views, sampling)
    labels = np.array([0 if p.label is None else p.label for p in pairs], np.int32)
    labeled = np.array([p.label is not None for p in pairs])
    fields = [OBSERVED, *prefixes[1:]]

    def load(position):
        types = [tf.int64] + [tf.float32] * len(prefixes)
        index, *arrays = tf.numpy_function(reader, [position], types, stateful=False)
        example = {INDEX: tf.ensure_shape(index, [])}
        for field, array, shape in zip(fields, arrays, reader.shapes, strict=True):
            example[field] = tf.ensure_shape(array, shape)
        return example

    def finish(batch):
        batch[LABEL] = tf.gather(labels, batch[INDEX])
        batch[LABELED] = tf.gather(labeled, batch[INDEX])
        return batch

    positions = tf.data.Dataset.range(start_step * batch_size, tf.int64.max)
    dataset = positions.map(load, num_parallel or num_cores(), deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return from_clips.read_ahead(dataset.map(finish))


class _Reader:
    """Called by tf.data with a position in the stream: a pair's index and arrays."""

    def __init__(self, pairs, records, prefixes, seed, views, sampling):
        self._order = order.SampleOrder(pairs, seed, views, sampling)
        self._records, self._prefixes = records, prefixes
        missing = [
            pair
            for pair in pairs
            for view in range(views)
            if feature_key(pair, view) not in records
            and pair.observed.video not in records.left_out
        ]
        if missing:
            raise ValueError(
                f"{records.folder} lacks {len(missing)} of {len(pairs) * views} views, "
                f"the first of {missing[0].observed}. It was made for other pairs or "
                f"fewer views; prepare another folder."
            )
        self._readable = np.array(
            [
                all(feature_key(p, view) in records for view in range(views))
                for p in pairs
            ]
        )
        if not self._readable.any():
            raise ValueError(f"{records.folder} holds none of the {len(pairs)} pairs.")
        first = pairs[int(self._readable.argmax())]
        self.shapes = [array.shape for array in self._arrays(feature_key(first, 0))]

    def __call__(self, position):
        position = int(position)
        index = self._order.index(position)
        # As with videos: the next that can be read takes the place of one that cannot.
        while not self._readable[index]:
            index = (index + 1) % len(self._readable)
        key = feature_key(self._order.pairs[index], self._order.view(position))
        return [np.int64(index), *self._arrays(key)]

    def _arrays(self, key):
        arrays = media_sequence.parse_features(self._records.read(key), self._prefixes)
        return [array.astype(np.float32) for array in arrays]
