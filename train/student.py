"""Trains anticipation networks: from labels alone, or from labels and the teacher."""

import keras

import kd_keras
from kd_keras.data import pipeline
from kd_keras.distill import Distiller
from kd_keras.distill.teacher import num_channels
from train import loop, networks
from train.stored_features import StoredFeatures
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
    stored = None
    if experiment.config.data.features is not None:
        stored = StoredFeatures(experiment, student, teacher)
    if method == "labels":
        _learn_from_labels(experiment, student, stored)
    else:
        _distil(experiment, method, student, teacher, stored)
    if stored is not None:
        stored.join()
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


def _learn_from_labels(experiment, student, stored):
    training, labeled = experiment.config.training, experiment.data.labeled
    instead = {}
    if stored is not None:
        instead = {
            "batches": lambda step: stored.batches(labeled, step, "labels"),
            "validate": stored.validation(),
        }
    train_recogniser(
        experiment,
        student if stored is None else stored.tail,
        pipeline.OBSERVED,
        "student_labels",
        training.student_steps,
        training.student_learning_rate,
        **instead,
    )


def _distil(experiment, method, student, teacher, stored):
    config, data = experiment.config, experiment.data
    options, training = config.distillation, config.training
    teacher_layer = networks.teacher_feature_layer(config, student, teacher)
    distiller = Distiller(
        student if stored is None else stored.tail,
        teacher if stored is None else None,
        feature_loss=feature_loss(method, options),
        feature_weight=options.feature_weight,
        feature_layer=networks.student_feature_layer(config, student),
        teacher_feature_layer=teacher_layer,
        temperature=options.temperature,
        feature_channels=None
        if stored is None
        else num_channels(teacher, teacher_layer),
    )
    distiller.compile(
        optimizer=networks.optimizer(
            config, training.student_steps, training.student_learning_rate
        )
    )
    pairs = [*data.labeled, *data.unlabeled]

    def batches_from(step):
        if stored is None:
            return experiment.batches(pairs, step)
        return stored.batches(pairs, step, method)

    if stored is None:
        validate = experiment.validation(student, pipeline.OBSERVED)
    else:
        validate = stored.validation()
    loop.train(
        distiller,
        batches_from,
        training.student_steps,
        run=experiment.directory,
        phase=f"student_{method}",
        validate=validate,
        validate_every=training.validate_every,
    )
