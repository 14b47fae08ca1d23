"""Stored features: what a frozen part of the student, and the teacher, say of views.

A record holds one augmented view of one pair: what reaches a layer of the student from
the observed clip, and the teacher's targets from the same view of the future clip.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kd_keras.data import augment, media_sequence, order, pipeline, shards
from kd_keras.data.clips import num_cores
from kd_keras.data.segments import Pair
from kd_keras.data.shard_writer import Made
from kd_keras.data.video import BadVideo

KIND = "features"
PRECISIONS = ("float16", "float32")

# The prefix of each array in a record.
STUDENT_INPUT = "STUDENT_INPUT"
PROBABILITIES = "TEACHER_PROBABILITIES"
FEATURES = "TEACHER_FEATURES"
READING = "TEACHER_READING"

# The largest finite float16: what is beyond would be stored as infinity.
_FLOAT16_MAX = float(np.finfo(np.float16).max)


def feature_key(pair: Pair, view: int) -> tuple:
    """The key of the record of a view of a pair."""
    observed, future = pair.observed, pair.future
    times_s = observed.start_s, observed.end_s, future.start_s, future.end_s
    return observed.video, *map(float, times_s), view


def feature_units(
    pairs: Sequence[Pair], views: int, records_per_shard: int = 128
) -> list[list[tuple]]:
    """Cuts the views of pairs into the work of each shard; a pair's lie together."""
    if not 1 <= views <= order.MAX_VIEWS:
        raise ValueError(
            f"views must lie between 1 and {order.MAX_VIEWS}. Got {views}; stored "
            "features need a number of views."
        )
    keys = sorted({feature_key(pair, view) for pair in pairs for view in range(views)})
    starts = range(0, len(keys), records_per_shard)
    return [keys[start : start + records_per_shard] for start in starts]


class FeatureRecorder:
    """Makes the records of views.

    Args:
        pairs: Every pair that is asked for.
        loader: A `ClipLoader` or `RecordLoader`.
        answer: Function (observed, future) of batches of clips in [-1, 1] that gives
            arrays by prefix, each with the batch first.
        augmentation: Of the views.
        shared_draw: As in `pipeline.pair_dataset`.
        precision: "float16" or "float32"; probabilities are float32 always.
        batch_size: Views that `answer` is given at a time.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        loader,
        answer: Callable,
        augmentation: augment.Augmentation,
        shared_draw: bool = True,
        precision: str = "float16",
        batch_size: int = 8,
    ):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}. Got {precision}.")
        self._pairs = {feature_key(pair, 0)[:-1]: pair for pair in pairs}
        self._loader, self._answer = loader, answer
        self._augmentation, self._shared_draw = augmentation, shared_draw
        self._precision, self._batch_size = precision, batch_size
        # One shard asks the networks while the others read their clips.
        self._lock = threading.Lock()

    def __call__(self, unit: Sequence[tuple]) -> Made:
        """The records of a shard; pairs that cannot be read are left out."""
        made = Made([])
        made.records = self._records(unit, made.left_out)
        return made

    def _records(self, unit, left_out):
        batch = []
        for key in unit:
            try:
                batch.append((key, *self._read(key)))
            except BadVideo as error:
                left_out[error.name] = error.reason
            if len(batch) == self._batch_size:
                yield from self._answered(batch)
                batch = []
        if batch:
            yield from self._answered(batch)

    def _read(self, key):
        return pipeline.read_view(
            self._pairs[key[:-1]],
            key[-1],
            self._loader,
            self._augmentation,
            self._shared_draw,
        )

    def _answered(self, batch):
        keys, observed, future = zip(*batch, strict=True)
        gain = self._loader.clip_format.gain
        with self._lock:
            answers = self._answer(
                pipeline.to_input(np.stack(observed), gain),
                pipeline.to_input(np.stack(future), gain),
            )
        answers = {prefix: np.asarray(array) for prefix, array in answers.items()}
        for number, key in enumerate(keys):
            arrays = {
                prefix: self._stored(prefix, array[number])
                for prefix, array in answers.items()
            }
            yield key, media_sequence.encode_features("|".join(map(str, key)), arrays)

    def _stored(self, prefix, array):
        if prefix == PROBABILITIES or self._precision == "float32":
            return array.astype(np.float32)
        return np.clip(array, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)


def feature_dataset(
    pairs: Sequence[Pair],
    records: shards.Shards,
    *,
    batch_size: int,
    views: int,
    prefixes: Sequence[str],
    seed: int = 0,
    start_step: int = 0,
    sampling: order.Sampling = order.Sampling(),  # noqa: B008 - frozen
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
    fields = [pipeline.OBSERVED, *prefixes[1:]]

    def load(position):
        types = [tf.int64] + [tf.float32] * len(prefixes)
        index, *arrays = tf.numpy_function(reader, [position], types, stateful=False)
        example = {pipeline.INDEX: tf.ensure_shape(index, [])}
        for field, array, shape in zip(fields, arrays, reader.shapes, strict=True):
            example[field] = tf.ensure_shape(array, shape)
        return example

    def finish(batch):
        batch[pipeline.LABEL] = tf.gather(labels, batch[pipeline.INDEX])
        batch[pipeline.LABELED] = tf.gather(labeled, batch[pipeline.INDEX])
        return batch

    positions = tf.data.Dataset.range(start_step * batch_size, tf.int64.max)
    dataset = positions.map(load, num_parallel or num_cores(), deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    return pipeline.read_ahead(dataset.map(finish))


class _Reader:
    """Called by tf.data with a position in the stream: a pair's index and arrays."""

    def __init__(self, pairs, records, prefixes, seed, views, sampling):
        self._order = order.Order(pairs, seed, views, sampling)
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
