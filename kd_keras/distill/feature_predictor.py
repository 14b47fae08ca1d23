"""What stored features hold of a batch of views: student's input, teacher's targets."""

import threading
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kd_keras.data.records import features as feature_records
from kd_keras.distill.teacher import FrozenTeacher
from kd_keras.losses.attentional_pooling import AttentionalPoolingLoss


class FeaturePredictor:
    """Computes the arrays of stored features; can be pickled with its networks.

    Calling it with observed and future clips in [-1, 1] gives float32 arrays by prefix.
    Threads take turns. It makes TensorFlow's operations deterministic in its process:
    a shard that is made again has to have the bytes that it had.

    Args:
        stem: The part of the student up to the stored layer.
        teacher: From clips to logits.
        feature_layer: The layer of the teacher whose map is compared.
        prefixes: The arrays beside the student's input, such as
            `feature_records.PROBABILITIES`.
        loss: The L_d that reads the map, for `feature_records.SELF_ATTENTION`.
    """

    def __init__(
        self,
        stem: keras.Model,
        teacher: keras.Model,
        feature_layer: str,
        prefixes: Collection[str],
        loss: AttentionalPoolingLoss,
    ) -> None:
        tf.config.experimental.enable_op_determinism()
        self._stem, self._teacher, self._layer = stem, teacher, feature_layer
        self._prefixes, self._loss = prefixes, loss
        with_map = feature_records.FEATURES in prefixes
        self._frozen = FrozenTeacher(teacher, feature_layer if with_map else None)
        self._predict = tf.function(self._arrays, reduce_retracing=True)
        # One shard runs the networks while the others read their clips.
        self._lock = threading.Lock()

    def __call__(
        self, observed: np.ndarray, future: np.ndarray
    ) -> dict[str, tf.Tensor]:
        with self._lock:
            return self._predict(observed, future)

    def __reduce__(self) -> tuple:
        return _unpickled, (
            self._stem,
            self._teacher,
            self._layer,
            self._prefixes,
            self._loss.get_config(),
        )

    def _arrays(self, observed: tf.Tensor, future: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities, features = self._frozen(future)
        arrays = {
            feature_records.STUDENT_INPUT: self._stem(observed, training=False),
            feature_records.PROBABILITIES: probabilities,
        }
        if feature_records.FEATURES in self._prefixes:
            arrays[feature_records.FEATURES] = features
        if feature_records.SELF_ATTENTION in self._prefixes:
            arrays[feature_records.SELF_ATTENTION] = self._loss.teacher_self_attention(
                features
            )
        return {name: tf.cast(array, tf.float32) for name, array in arrays.items()}


def _unpickled(
    stem: keras.Model,
    teacher: keras.Model,
    layer: str,
    prefixes: Collection[str],
    loss: Mapping[str, Any],
) -> FeaturePredictor:
    return FeaturePredictor(
        stem, teacher, layer, prefixes, AttentionalPoolingLoss.from_config(dict(loss))
    )
