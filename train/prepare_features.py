"""Writes stored features: the student's up to a layer, and the teacher's targets."""

import dataclasses
from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from kd_keras.data.records import features as feature_records
from kd_keras.data.records import shards
from kd_keras.data.records.shard_writer import write_shards
from kd_keras.distill.teacher import FrozenTeacher
from kd_keras.training import half_precision
from train import data as data_lib
from train import data_set, networks, stored_features
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
) -> shards.Shards:
    """Writes the views of all training pairs; arguments as in `prepare_clips`."""
    _check(config)
    keras.utils.set_random_seed(config.run.seed)
    half_precision.require_device(config.run.dtype_policy)
    keras.config.set_dtype_policy(config.run.dtype_policy)
    # A shard that is made again has to have the bytes that it had.
    tf.config.experimental.enable_op_determinism()
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
    predict = _predictor(config, student, teacher, layer)
    recorder = feature_records.FeatureRecorder(
        pairs,
        data.loader,
        predict,
        data.augmentation,
        config.augmentation.same_augmentation,
        preparation.precision,
        config.training.batch_size,
    )
    size = sum(len(record) for _, record in recorder([shard_keys[0][0]]).records)
    written = write_shards(
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
    )
    data_lib.check_left_out(config, written, data.whole_index)
    return written


def _predictor(
    config: Config, student: keras.Model, teacher: keras.Model, layer: str
) -> Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]:
    """The function (observed, future) -> arrays by prefix."""
    wanted = stored_features.prefixes(config)
    with_map = feature_records.FEATURES in wanted
    stem = networks.stem(student, layer)
    feature_layer = stored_features.compared_layer(config, student, teacher)
    frozen = FrozenTeacher(teacher, feature_layer if with_map else None)
    loss = attention_loss(config.distillation)

    @tf.function(reduce_retracing=True)
    def predict(observed: tf.Tensor, future: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities, features = frozen(future)
        arrays = {
            feature_records.STUDENT_INPUT: stem(observed, training=False),
            feature_records.PROBABILITIES: probabilities,
        }
        if with_map:
            arrays[feature_records.FEATURES] = features
        if feature_records.SELF_ATTENTION in wanted:
            arrays[feature_records.SELF_ATTENTION] = loss.teacher_self_attention(
                features
            )
        return {name: tf.cast(array, tf.float32) for name, array in arrays.items()}

    return predict


def _check(config: Config) -> None:
    if not config.augmentation.views:
        raise ValueError(
            "--kind=features needs --views, the number of views of a pair to store."
        )
