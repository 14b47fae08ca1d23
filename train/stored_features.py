"""Training from stored features: the part of a student behind --stored_layer."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kd_keras.data.batches import from_features
from kd_keras.data.batches.fields import (
    OBSERVED,
    TEACHER_FEATURES,
    TEACHER_PROBABILITIES,
)
from kd_keras.data.records import clips as clip_records
from kd_keras.data.records import features as feature_records
from kd_keras.data.records import shards
from kd_keras.data.segments import Pair
from train import batches, data_set, networks, phases
from train import data as data_lib
from train.experiment import Experiment
from train.flags import fields as flag_fields
from train.flags.config import Config
from train.flags.learning import FEATURE_METHODS, LABELS_ALONE

# Flags that had another name when files began to hold them.
_STORED_NAMES = {"same_augmentation": "shared_draw", "stored_layer": "layer"}


class StoredFeatures:
    """Stored features of pairs, from which the tail of a student learns.

    Args:
        experiment: The `Experiment`.
        student: The whole student as it starts.
        teacher: The run's teacher, which must have made the stored targets.
        pairs: What the student is trained on.
        method: `labels`, `pseudo_labels`, `direct` or `attention`.
    Attributes:
        network, pairs, field, has_targets: As `phases.Source` has them; the network is
            the part of the student behind the stored layer.
    Raises:
        StaleRecords: Other weights, clips or views made the features; says which.
    """

    field = OBSERVED
    has_targets = True

    def __init__(
        self,
        experiment: Experiment,
        student: keras.Model,
        teacher: keras.Model,
        pairs: Sequence[Pair],
        method: str,
    ) -> None:
        config = experiment.config
        if not config.augmentation.views:
            raise ValueError(
                "--features needs --views, the number of stored views of a pair to use."
            )
        layer = networks.stored_layer(config)
        self._experiment, self._student, self._method = experiment, student, method
        self._records = shards.Shards(
            config.data.features, fingerprint(config, student, teacher, layer)
        )
        values = data_set.describe(config.data, experiment.data.whole_index)
        data_set.refuse_changes(self._records.folder, values, "features")
        self.network, self.pairs = networks.tail(student, layer), pairs

    def batches_from(self, step: int) -> tf.data.Dataset:
        """Returns the endless stream of training batches from a step on."""
        features = [feature_records.STUDENT_INPUT]
        if self._method not in LABELS_ALONE:
            features.append(feature_records.PROBABILITIES)
        if self._method in FEATURE_METHODS:
            features.append(feature_records.FEATURES)
        if self._method == "attention":
            features.append(feature_records.SELF_ATTENTION)
        stream = batches.stream_of(self._experiment.config, self.pairs, step)
        stored = from_features.training_batches(stream, self._records, features)
        return batches.own_rows(
            stored.map(_named_for_the_distiller), self._experiment.distribution
        )

    def validation(self) -> Callable[[], dict[str, float]]:
        """Returns the function that scores the whole student in training."""
        validate = phases.validation(self._experiment, self._student, self.field)

        def finish_and_validate() -> dict[str, float]:
            self.finish()
            return validate()

        return finish_and_validate

    def finish(self) -> None:
        """Gives the whole student what its tail has learned."""
        networks.copy_layers(self.network, self._student)


def compared_layer(config: Config, student: keras.Model, teacher: keras.Model) -> str:
    """Returns the layer of the teacher whose map is stored.

    Raises:
        ValueError: If there are several.
    """
    layers = networks.teacher_feature_layers(config, student, teacher)
    if len(layers) > 1:
        raise ValueError(
            "Stored features hold the map of one layer. Got --feature_layer="
            f"{','.join(layers)}; name one, or train from clips."
        )
    return layers[0]


def fingerprint(
    config: Config, student: keras.Model, teacher: keras.Model, layer: str
) -> dict[str, Any]:
    """What stored features depend on, by name; training from them compares it."""
    values = {
        **config.affecting("views"),
        **config.affecting("features"),
        # As the networks of the run resolve them.
        "stored_layer": layer,
        "teacher_feature_layer": compared_layer(config, student, teacher),
    }
    return {
        **clip_records.format_values(data_lib.clip_format(config.data)),
        **flag_fields.with_dashes(
            {_STORED_NAMES.get(name, name): value for name, value in values.items()}
        ),
        "weights of the student up to --layer": weights_checksum(
            networks.stem(student, layer).get_weights()
        ),
        "weights of the teacher": weights_checksum(teacher.get_weights()),
    }


def prefixes(config: Config) -> set[str]:
    """The arrays that the students of a run need, beside the student's input."""
    methods = set(config.distillation.students)
    names = {feature_records.PROBABILITIES}
    if methods & FEATURE_METHODS:
        names.add(feature_records.FEATURES)
    if "attention" in methods:
        names.add(feature_records.SELF_ATTENTION)
    return names


def weights_checksum(weights: Iterable[np.ndarray]) -> str:
    """Names the values of a network's weights."""
    sha256 = hashlib.sha256()
    for weight in weights:
        sha256.update(f"{weight.dtype} {weight.shape}".encode())
        sha256.update(np.ascontiguousarray(weight).tobytes())
    return sha256.hexdigest()[:16]


def _named_for_the_distiller(batch: dict) -> dict:
    batch = dict(batch)
    if feature_records.PROBABILITIES in batch:
        batch[TEACHER_PROBABILITIES] = batch.pop(feature_records.PROBABILITIES)
    if feature_records.FEATURES in batch:
        features = batch.pop(feature_records.FEATURES)
        if feature_records.SELF_ATTENTION in batch:
            features = features, batch.pop(feature_records.SELF_ATTENTION)
        batch[TEACHER_FEATURES] = features
    return batch
