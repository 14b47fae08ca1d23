"""Trains anticipation networks: from labels alone, or from labels and the teacher."""

import keras

import kd_keras
from kd_keras.data import pipeline
from kd_keras.distill import Distiller
from train import loop, networks
from train.teacher import train_recogniser


def get_student(experiment, method, teacher):
    """Returns a trained student; trains it unless the run directory holds it.

    Args:
        experiment: The `Experiment`.
        method: `labels`, `pseudo_labels`, `direct` or `attention`.
        teacher: The trained teacher.
    """
    path = experiment.directory / "students" / f"{method}.keras"
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    if experiment.config.run.task == "evaluate":
        raise ValueError(
            f"--task=evaluate needs trained students, and {path} does not exist. Train "
            "it with --task=student."
        )
    student = networks.start_student(experiment.config, teacher)
    if method == "labels":
        training = experiment.config.training
        train_recogniser(
            experiment,
            student,
            pipeline.OBSERVED,
            f"student_{method}",
            training.student_steps,
            training.student_learning_rate,
        )
    else:
        _distil(experiment, method, student, teacher)
    path.parent.mkdir(exist_ok=True)
    experiment.save(student, path)
    return student


def feature_loss(method, options):
    """Returns the feature loss of a method, or None.

    Args:
        method: `pseudo_labels`, `direct` or `attention`.
        options: The run's `Distillation`.
    """
    shared = {
        "distance": options.distance,
        "delta": options.delta,
        "tokens": options.tokens,
    }
    if method == "direct":
        return kd_keras.DirectLoss(**shared)
    if method == "attention":
        return kd_keras.AttentionalPoolingLoss(
            alpha=options.alpha,
            direction=options.direction,
            chunk_size=options.chunk_size,
            **shared,
        )
    return None


def _distil(experiment, method, student, teacher):
    config, data = experiment.config, experiment.data
    options, training = config.distillation, config.training
    distiller = Distiller(
        student,
        teacher,
        feature_loss=feature_loss(method, options),
        feature_weight=options.feature_weight,
        feature_layer=networks.student_feature_layer(config, student),
        teacher_feature_layer=networks.teacher_feature_layer(config, student, teacher),
        temperature=options.temperature,
    )
    distiller.compile(
        optimizer=networks.optimizer(
            config, training.student_steps, training.student_learning_rate
        )
    )
    loop.train(
        distiller,
        lambda step: experiment.batches([*data.labeled, *data.unlabeled], step),
        training.student_steps,
        run=experiment.directory,
        phase=f"student_{method}",
        validate=experiment.validation(student, pipeline.OBSERVED),
        validate_every=training.validate_every,
    )
