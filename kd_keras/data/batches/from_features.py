"""Stored features -> batches."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data.batches.fields import OBSERVED
from kd_keras.data.batches.stream import Stream, examples, labeler, read_ahead
from kd_keras.data.records import media_sequence, shards
from kd_keras.data.records.features import feature_key


def training_batches(
    stream: Stream, records: shards.Shards, prefixes: Sequence[str]
) -> tf.data.Dataset:
    """The same batches as `from_clips.training_batches`, from stored features.

    The same stream gives the same pairs and views at each position, so that training
    behind the stored layer sees what it would see with videos.

    Args:
        stream: With at least one view.
        records: They hold the views of every pair, except of those left out.
        prefixes: Arrays that a batch holds, first `STUDENT_INPUT`.
    Returns:
        Dataset of dicts: "observed" holds what reaches the layer; each other prefix
        its array, float32; "label", "labeled" and "index" as in batches of clips.
    Raises:
        ValueError: If records are missing.
    """
    read = _Reader(stream, records, prefixes)
    fields = [OBSERVED, *prefixes[1:]]
    shapes = dict(zip(fields, read.shapes, strict=True))
    batches = examples(stream.positions, read, shapes, tf.float32).batch(
        stream.batch_size, drop_remainder=True
    )
    return read_ahead(batches.map(labeler(stream.pairs)))


class _Reader:
    """Called by tf.data with a position in the stream: a pair's index and arrays."""

    def __init__(self, stream, records, prefixes):
        pairs, views = stream.pairs, stream.views
        self._order = stream.order
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
        first = pairs[self._index(0)]
        self.shapes = [array.shape for array in self._arrays(feature_key(first, 0))]

    def __call__(self, position):
        position = int(position)
        index = self._index(position)
        key = feature_key(self._order.pairs[index], self._order.view(position))
        return [np.int64(index), *self._arrays(key)]

    def _index(self, position):
        """As with videos: the next that can be read replaces one that cannot."""
        for index in self._order.candidates(position):
            if self._readable[index]:
                return index
        number = len([*self._order.candidates(position)])
        raise ValueError(f"{self._records.folder} holds none of the {number} pairs.")

    def _arrays(self, key):
        arrays = media_sequence.parse_features(self._records.read(key), self._prefixes)
        return [array.astype(np.float32) for array in arrays]
