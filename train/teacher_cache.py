"""The teacher's targets of every view of the training pairs, computed once.

With --views, or without augmentation, the teacher would see the same clips in every
pass. Its probabilities, its feature maps and their self-attention are kept in memory or
on disk, and no training step runs the teacher.
"""

import concurrent.futures
import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kd_keras.aside import written_aside
from kd_keras.data import kept_arrays, memory
from kd_keras.data.batches.fields import (
    FUTURE,
    INDEX,
    OBSERVED,
    TEACHER_FEATURES,
    TEACHER_PROBABILITIES,
)
from kd_keras.data.batches.order import SampleOrder, rows_of_worker
from kd_keras.data.clips.views import as_input, evaluated, read_view
from kd_keras.data.parallel import num_cores, progress_bar
from kd_keras.data.records import features as feature_records
from kd_keras.data.segments import Pair
from kd_keras.data.video.info import BadVideo
from kd_keras.distill.teacher import FrozenTeacher
from kd_keras.losses import AttentionalPoolingLoss
from train import batches, networks, phases
from train import data as data_lib
from train.experiment import Experiment
from train.flags.learning import FEATURE_METHODS
from train.loop import guards
from train.stored_features import prefixes, weights_checksum

# Views that are computed, and on disk written, together.
_BLOCK = 64

# Names of the arrays on disk.
_PROBABILITIES, _FEATURES, _SELF_ATTENTION = "probabilities", "features", "reading"
_READABLE = "readable"

# Of a block of views, by name; each has a row for a view.
_Arrays: TypeAlias = dict[str, np.ndarray]
# A position in the pairs, and the number of a view.
_View: TypeAlias = tuple[int, int]
_Predict: TypeAlias = Callable[[tf.Tensor], dict[str, tf.Tensor]]


class TeacherCache(phases.Clips):
    """Observed clips, and the teacher's targets of the future ones, made once.

    Targets are kept by pair and view; those that a run left on disk are found again.

    Args:
        experiment: The `Experiment`.
        student: What is trained.
        teacher: What the targets are of.
        pairs: What the student is trained on.
        loss: The feature loss, or None.
    """

    has_targets = True

    def __init__(
        self,
        experiment: Experiment,
        student: keras.Model,
        teacher: keras.Model,
        pairs: Sequence[Pair],
        loss: keras.losses.Loss | None,
    ) -> None:
        super().__init__(experiment, student, pairs)
        config = experiment.config
        layers: tuple[str, ...] = ()
        if not FEATURE_METHODS.isdisjoint(config.distillation.students):
            layers = networks.teacher_feature_layers(config, student, teacher)
        reads = isinstance(loss, AttentionalPoolingLoss)
        self._num_maps = 0 if loss is None else len(layers)
        self._names = _names(self._num_maps, reads)
        is_on_disk = config.distillation.teacher_cache == "disk"
        if is_on_disk:
            # All students of the run find them, so the teacher runs once.
            reads = feature_records.SELF_ATTENTION in prefixes(config)
        elif loss is None:
            layers = ()
        self._teacher = FrozenTeacher(teacher, layers or None)
        self._reading = AttentionalPoolingLoss(
            alpha=config.distillation.alpha,
            chunk_size=config.distillation.chunk_size,
        )
        self._made_names = _names(len(layers), reads)
        self._views = config.augmentation.views
        self._order = SampleOrder(
            pairs,
            config.run.seed,
            self._views,
            data_lib.sampling(config, pairs),
        )
        self._readable = np.ones(len(pairs), bool)
        folder = None
        if is_on_disk:
            made_by = weights_checksum(teacher.get_weights())
            alpha = config.distillation.alpha
            key = self._key((made_by, layers, alpha, self._made_names))
            folder = experiment.directory / "teacher_targets" / key
        self._blocks = self._fill(folder)

    def batches_from(self, step: int) -> tf.data.Dataset:
        """Returns the stream of training batches with targets for future clips."""
        fields: tuple[str, ...] = (OBSERVED,)
        if not self._readable.all():
            # The training skips these pairs, as it would with clips of both.
            fields = (OBSERVED, FUTURE)
        clips = batches.training_batches(self._experiment, self.pairs, step, fields)
        size = self._experiment.config.training.batch_size
        distribution = self._experiment.distribution
        worker, count = distribution.worker, distribution.num_workers
        first = tf.data.Dataset.range(step * size, tf.int64.max, size)
        rows = np.array(rows_of_worker(worker, count, size), np.int64)
        example = self._blocks[0]
        types = [tf.float32] * len(example)
        shapes = [(size // count, *array.shape[1:]) for array in example.values()]

        def add_targets(batch: dict[str, tf.Tensor], start: tf.Tensor) -> dict:
            arrays = tf.numpy_function(
                self._read, [batch[INDEX], start + rows], types, stateful=False
            )
            arrays = [
                tf.ensure_shape(array, shape)
                for array, shape in zip(arrays, shapes, strict=True)
            ]
            targets = dict(zip(example, arrays, strict=True))
            batch = {k: v for k, v in batch.items() if k != FUTURE}
            batch[TEACHER_PROBABILITIES] = targets[_PROBABILITIES]

            def of_map(number: int) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
                features = targets[_of_map(_FEATURES, number)]
                attended = targets.get(_of_map(_SELF_ATTENTION, number))
                return features if attended is None else (features, attended)

            if self._num_maps:
                maps = tuple(map(of_map, range(self._num_maps)))
                batch[TEACHER_FEATURES] = maps if len(maps) > 1 else maps[0]
            return batch

        return tf.data.Dataset.zip((clips, first)).map(add_targets).prefetch(2)

    def _read(self, indices: np.ndarray, positions: np.ndarray) -> list[np.ndarray]:
        """Returns the arrays of some pairs at the views of their positions."""
        rows = []
        for index, position in zip(indices, positions, strict=True):
            view = self._order.view(int(position)) if self._views else 0
            block, row = divmod(int(index) * max(self._views, 1) + view, _BLOCK)
            rows.append([array[row] for array in self._blocks[block].values()])
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def _fill(self, folder: pathlib.Path | None) -> list[_Arrays]:
        """Returns the arrays of every block by name, made or found."""
        keys = [
            (index, view)
            for index in range(len(self.pairs))
            for view in range(max(self._views, 1))
        ]
        key_blocks = [
            keys[start : start + _BLOCK] for start in range(0, len(keys), _BLOCK)
        ]
        predict = self._compiled()
        bar = progress_bar(len(keys), "view", self._experiment.distribution.is_chief)
        blocks = []
        for number, block in enumerate(key_blocks):
            name = None if folder is None else folder / f"block-{number:06d}"
            arrays = None if name is None else self._kept(name)
            if arrays is None:
                arrays = self._make(block, predict)
                if number == 0:
                    self._say_size(arrays, len(keys), folder)
                if name is not None:
                    self._write(name, arrays)
                    arrays = self._kept(name) or arrays
            arrays = {name: arrays[name] for name in self._names}
            for (index, _), readable in zip(block, arrays.pop(_READABLE), strict=True):
                self._readable[index] &= bool(readable)
            blocks.append(arrays)
            bar.add(len(block))
        return blocks

    def _compiled(self) -> _Predict:
        @tf.function(reduce_retracing=True, autograph=False)
        def predict(clips: tf.Tensor) -> dict[str, tf.Tensor]:
            probabilities, features = self._teacher(clips)
            arrays = {_PROBABILITIES: probabilities}
            for number, feature_map in enumerate(features or ()):
                arrays[_of_map(_FEATURES, number)] = feature_map
                attended = _of_map(_SELF_ATTENTION, number)
                if attended in self._made_names:
                    arrays[attended] = self._reading.teacher_self_attention(feature_map)
            return {name: tf.cast(array, tf.float32) for name, array in arrays.items()}

        return predict

    def _make(self, block: Sequence[_View], predict: _Predict) -> _Arrays:
        with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
            clips = list(pool.map(self._clip, block))
        readable = np.array([clip is not None for clip in clips])
        clip_format = self._experiment.data.loader.clip_format
        clips = np.stack(
            [clip_format.blank_clip if clip is None else clip for clip in clips]
        )
        step = self._experiment.config.training.batch_size
        outputs = [
            predict(as_input(clips[start : start + step], clip_format))
            for start in range(0, len(clips), step)
        ]
        arrays = {
            name: np.concatenate([output[name].numpy() for output in outputs])
            for name in outputs[0]
        }
        return {**arrays, _READABLE: readable}

    def _clip(self, key: _View) -> np.ndarray | None:
        index, view = key
        pair, data = self.pairs[index], self._experiment.data
        augmentation = self._experiment.config.augmentation
        try:
            if self._views:
                _, clip = read_view(
                    pair,
                    view,
                    data.loader,
                    data.augmentation,
                    augmentation.same_augmentation,
                )
                return clip
            data.loader.load(pair.observed)
            clip = data.loader.load(pair.future)
        except BadVideo:
            return None
        return evaluated(clip, data.loader.clip_format)

    def _kept(self, folder: pathlib.Path) -> _Arrays | None:
        """The arrays of a block, left on disk; None if it is missing or damaged."""
        if not folder.exists():
            return None
        try:
            return {
                name: kept_arrays.read_array(folder / f"{name}.npy", mapped=True)
                for name in self._names
            }
        except (ValueError, OSError) as error:
            guards.warn(f"Making the damaged {folder} again ({error})")
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def _write(self, folder: pathlib.Path, arrays: _Arrays) -> None:
        try:
            with written_aside(folder) as aside:
                aside.mkdir(parents=True)
                for name, array in arrays.items():
                    kept_arrays.write_array(aside / f"{name}.npy", array)
        except OSError as error:
            # Another worker was faster.
            if folder.exists():
                return
            raise OSError(
                f"The teacher's targets cannot be written to {folder.parent}: {error}. "
                "Make room and give the same command again, which goes on with those "
                "that are there; or use --teacher_cache=off in another --run_dir."
            ) from error

    def _say_size(
        self, arrays: _Arrays, views: int, folder: pathlib.Path | None
    ) -> None:
        needed = views * sum(array[:1].nbytes for array in arrays.values())
        place = "memory" if folder is None else folder
        text = f"The teacher's targets of {views} views take {needed / 1e9:.3f} GB"
        available = memory.available_bytes() if folder is None else None
        if available is not None and needed > available:
            raise ValueError(
                f"{text}, and {available / 1e9:.3f} GB of memory are free. Use "
                "--teacher_cache=disk, or fewer --views."
            )
        print(f"{text} in {place}", flush=True)

    def _key(self, fingerprint: tuple) -> str:
        """Names everything that the targets depend on."""
        config = self._experiment.config
        # A run may go on with clips that are kept elsewhere.
        data = dataclasses.replace(config.data, cache=None, cache_dir=None)
        text = repr((self.pairs, data, config.augmentation, fingerprint))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _names(num_maps: int, reads: bool) -> list[str]:
    """Names the arrays of so many maps, in order; `reads` adds their self-attention."""
    kinds = (_FEATURES, _SELF_ATTENTION) if reads else (_FEATURES,)
    of_maps = [_of_map(kind, number) for kind in kinds for number in range(num_maps)]
    return sorted([_PROBABILITIES, _READABLE, *of_maps])


def _of_map(name: str, number: int) -> str:
    """Returns the name of an array of one of several maps."""
    return f"{name}-{number}" if number else name
