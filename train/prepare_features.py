"""Writes stored features: the student's up to a layer, and the teacher's targets."""

import dataclasses

import keras
import tensorflow as tf

from kd_keras.data.records import features as feature_records
from kd_keras.data.records.shard_writer import write_shards
from kd_keras.distill.teacher import FrozenTeacher
from kd_keras.training import half_precision
from train import data as data_lib
from train import data_set, networks, stored_features
from train.student import feature_loss
from train.teacher import load_teacher


def write(config, preparation, data, remake, files):
    """Writes the views of all training pairs; arguments as in `prepare_clips`."""
    _check(config)
    keras.utils.set_random_seed(config.run.seed)
    half_precision.require_device(config.run.dtype_policy)
    keras.config.set_dtype_policy(config.run.dtype_policy)
    # A shard that is made again has to have the bytes that it had.
    tf.config.experimental.enable_op_determinism()
    values = data_set.describe(config.data, data.whole_index)
    data_set.refuse_changes(preparation.output, values, "features")
    if config.run.teacher is None and config.run.run_dir:
        data_set.refuse_changes(config.run.run_dir, values, "the teacher")
    teacher = load_teacher(config, data.index.classes)
    student = networks.start_student(config, teacher)
    layer = stored_features.layer_of(config)
    config = dataclasses.replace(
        config, distillation=dataclasses.replace(config.distillation, layer=layer)
    )
    pairs = data.for_students
    units = feature_records.feature_units(
        pairs, config.augmentation.views, preparation.shard_records
    )
    answer = _answer(config, student, teacher, layer)
    recorder = feature_records.FeatureRecorder(
        pairs,
        data.loader,
        answer,
        data.augmentation,
        config.augmentation.shared_draw,
        preparation.precision,
        config.training.batch_size,
    )
    size = sum(len(record) for _, record in recorder([units[0][0]]).records)
    written = write_shards(
        preparation.output,
        units,
        recorder,
        kind=feature_records.KIND,
        made_from={
            **stored_features.made_from(config, student, teacher, layer),
            "--precision": preparation.precision,
            "--shard_records": preparation.shard_records,
            "--views": config.augmentation.views,
            "--batch_size": config.training.batch_size,
            "arrays": sorted(stored_features.prefixes(config)),
        },
        remake=remake,
        expected_bytes=int(1.01 * size * sum(map(len, units))),
        files={**files, data_set.FILE: data_set.to_bytes(values)},
        verify=preparation.verify,
    )
    data_lib.check_left_out(config, written, data.whole_index)
    return written


def _answer(config, student, teacher, layer):
    """The function (observed, future) -> arrays by prefix."""
    wanted, options = stored_features.prefixes(config), config.distillation
    with_map = feature_records.FEATURES in wanted
    stem = networks.stem(student, layer)
    feature_layer = stored_features.compared_layer(config, student, teacher)
    frozen = FrozenTeacher(teacher, feature_layer if with_map else None)
    loss = feature_loss("attention", options)

    @tf.function(reduce_retracing=True)
    def answer(observed, future):
        probabilities, features = frozen(future)
        arrays = {
            feature_records.STUDENT_INPUT: stem(observed, training=False),
            feature_records.PROBABILITIES: probabilities,
        }
        if with_map:
            arrays[feature_records.FEATURES] = features
        if feature_records.READING in wanted:
            arrays[feature_records.READING] = loss.teacher_reading(features)
        return {name: tf.cast(array, tf.float32) for name, array in arrays.items()}

    return answer


def _check(config):
    if not config.augmentation.views:
        raise ValueError("--kind=features needs --views: how many of a pair to store.")
