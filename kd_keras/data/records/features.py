"""Stored features: what a frozen part of the student, and the teacher, say of views.

A record holds one augmented view of one pair: what reaches a layer of the student from
the observed clip, and the teacher's targets from the same view of the future clip.
"""

import copy
import os
from collections.abc import Callable, Sequence

import numpy as np

from kd_keras.data.clips import augment
from kd_keras.data.clips.loader import ClipReader
from kd_keras.data.clips.views import MAX_VIEWS, as_input, read_view
from kd_keras.data.records import media_sequence
from kd_keras.data.records.shard_writer import ShardContents
from kd_keras.data.segments import Pair
from kd_keras.data.video.info import BadVideo

KIND = "features"
PRECISIONS = ("float16", "float32")

# The prefix of each array in a record.
STUDENT_INPUT = "STUDENT_INPUT"
PROBABILITIES = "TEACHER_PROBABILITIES"
FEATURES = "TEACHER_FEATURES"
SELF_ATTENTION = "TEACHER_READING"

# The largest finite float16: what is beyond would be stored as infinity.
_FLOAT16_MAX = float(np.finfo(np.float16).max)


def feature_key(pair: Pair, view: int) -> tuple:
    """The key of the record of a view of a pair."""
    observed, future = pair.observed, pair.future
    times_s = observed.start_s, observed.end_s, future.start_s, future.end_s
    return observed.video, *map(float, times_s), view


def feature_shards(
    pairs: Sequence[Pair], views: int, records_per_shard: int = 128
) -> list[list[tuple]]:
    """Cuts the views of pairs into the work of each shard; a pair's lie together."""
    if not 1 <= views <= MAX_VIEWS:
        raise ValueError(
            f"views must lie between 1 and {MAX_VIEWS}. Got {views}; stored "
            "features need a number of views."
        )
    keys = sorted({feature_key(pair, view) for pair in pairs for view in range(views)})
    starts = range(0, len(keys), records_per_shard)
    return [keys[start : start + records_per_shard] for start in starts]


class FeatureRecorder:
    """Makes the records of views.

    Args:
        pairs: Every pair that is asked for.
        loader: Reads the clips of the pairs.
        predict: Function (observed, future) of batches of clips in [-1, 1] that gives
            arrays by prefix, each with the batch first; called from several threads.
        augmentation: Of the views.
        same_augmentation: As in `from_clips.training_batches`.
        precision: "float16" or "float32"; probabilities are float32 always.
        batch_size: Views that `predict` is given at a time.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        loader: ClipReader,
        predict: Callable,
        augmentation: augment.Augmentation,
        same_augmentation: bool = True,
        precision: str = "float16",
        batch_size: int = 8,
    ):
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}. Got {precision}.")
        self._pairs = {feature_key(pair, 0)[:-1]: pair for pair in pairs}
        self._loader, self._predict = loader, predict
        self._augmentation, self._same_augmentation = augmentation, same_augmentation
        self._precision, self._batch_size = precision, batch_size

    @property
    def shared(self) -> Callable:
        """What all parts have, and is sent to another process apart from the jobs."""
        return self._predict

    def __call__(self, keys: Sequence[tuple]) -> ShardContents:
        """The records of a shard; pairs that cannot be read are left out.

        What is left out depends on the keys alone, not on what other shards met.
        """
        made = ShardContents([])
        made.records = self.part(keys)._records(keys, made.left_out)
        return made

    def part(self, keys: Sequence[tuple]) -> "FeatureRecorder":
        """A recorder of these keys alone; all of it is small except `shared`."""
        part = copy.copy(self)
        pairs = {key[:-1]: self._pairs[key[:-1]] for key in keys}
        videos = {c.video for p in pairs.values() for c in (p.observed, p.future)}
        part._pairs, part._loader = pairs, self._loader.part(videos)
        return part

    def paths(self) -> list[str | os.PathLike]:
        """The files and folders that it reads."""
        return self._loader.paths()

    def _records(self, keys, left_out):
        batch = []
        for key in keys:
            try:
                batch.append((key, *self._read(key)))
            except BadVideo as error:
                left_out[error.name] = error.reason
            if len(batch) == self._batch_size:
                yield from self._encoded(batch)
                batch = []
        if batch:
            yield from self._encoded(batch)

    def _read(self, key):
        return read_view(
            self._pairs[key[:-1]],
            key[-1],
            self._loader,
            self._augmentation,
            self._same_augmentation,
        )

    def _encoded(self, batch):
        keys, observed, future = zip(*batch, strict=True)
        clip_format = self._loader.clip_format
        outputs = self._predict(
            as_input(np.stack(observed), clip_format),
            as_input(np.stack(future), clip_format),
        )
        outputs = {prefix: np.asarray(array) for prefix, array in outputs.items()}
        for number, key in enumerate(keys):
            arrays = {
                prefix: self._stored(prefix, array[number])
                for prefix, array in outputs.items()
            }
            yield key, media_sequence.encode_features("|".join(map(str, key)), arrays)

    def _stored(self, prefix, array):
        if prefix == PROBABILITIES or self._precision == "float32":
            return array.astype(np.float32)
        return np.clip(array, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
