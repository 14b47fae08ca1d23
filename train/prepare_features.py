"""Writes stored features: the student's up to a layer, and the teacher's targets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from kd_keras.data.records import features as feature_records
from kd_keras.data.records import shards
from kd_keras.data.records.shard_writer import sampled_sizes, write_shards
from kd_keras.distill.feature_predictor import FeaturePredictor
from kd_keras.training import half_precision
from train import data_set, left_out, networks, stored_features
from train.data import RunData
from train.flags import fields as flag_fields
from train.flags.config import Config
from train.flags.preparation import Preparation
from train.student import attention_loss
from train.teacher import load_teacher


def write(
    config: Config,
    preparation: Preparation,
    data: RunData,
    rerun_command: str,
    files: Mapping[str, bytes],
    **how: Any,
) -> shards.Shards:
    """Writes the views of all training pairs; arguments as in `prepare_clips`."""
    _check(config)
    keras.utils.set_random_seed(config.run.seed)
    half_precision.require_device(config.run.dtype_policy)
    keras.config.set_dtype_policy(config.run.dtype_policy)
    values = data_set.describe(config.data, data.whole_index)
    data_set.refuse_changes(preparation.folder, values, "features")
    if config.run.teacher is None and config.run.run_dir:
        data_set.refuse_changes(config.run.run_dir, values, "the teacher")
    teacher = load_teacher(config, data.index.classes)
    student = networks.start_student(config, teacher)
    layer = networks.stored_layer(config)
    config = dataclasses.replace(
        config,
        distillation=dataclasses.replace(config.distillation, stored_layer=layer),
    )
    pairs = data.for_students
    shard_keys = feature_records.feature_shards(
        pairs, config.augmentation.views, preparation.shard_records
    )
    predict = FeaturePredictor(
        networks.stem(student, layer),
        teacher,
        stored_features.compared_layer(config, student, teacher),
        stored_features.prefixes(config),
        attention_loss(config.distillation),
    )
    recorder = feature_records.FeatureRecorder(
        pairs,
        data.loader,
        predict,
        data.augmentation,
        config.augmentation.same_augmentation,
        preparation.precision,
        config.training.batch_size,
    )
    # All records are of the same size.
    size = next(sampled_sizes(shard_keys, recorder))
    return write_shards(
        preparation.folder,
        shard_keys,
        recorder,
        kind=feature_records.KIND,
        fingerprint={
            **stored_features.fingerprint(config, student, teacher, layer),
            **flag_fields.with_dashes(flag_fields.affecting("features", preparation)),
            "--views": config.augmentation.views,
            "--batch_size": config.training.batch_size,
            "arrays": sorted(stored_features.prefixes(config)),
        },
        rerun_command=rerun_command,
        expected_bytes=int(1.01 * size * sum(map(len, shard_keys))),
        files={**files, data_set.FILE: data_set.to_bytes(values)},
        verify=preparation.verify,
        note_left_out=left_out.noting(config, preparation.folder, data.whole_index),
        **how,
    )


def _check(config: Config) -> None:
    if not config.augmentation.views:
        raise ValueError(
            "--kind=features needs --views, the number of views of a pair to store."
        )
