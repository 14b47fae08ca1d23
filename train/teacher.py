"""Trains the recognition network on the labeled future clips."""

import pathlib

import keras
import tensorflow as tf

from kd_keras.data import pipeline
from train import loop, networks


def get_teacher(experiment):
    """Returns the run's teacher: given, already trained, or trained now."""
    given = experiment.config.run.teacher
    path = experiment.directory / "teacher.keras" if given is None else given
    if pathlib.Path(path).exists():
        return _load(path, experiment.data.index.classes)
    if given is not None:
        raise ValueError(f"--teacher={given} does not exist; give a .keras file.")
    if experiment.config.run.task in ("student", "evaluate"):
        raise ValueError(
            f"--task={experiment.config.run.task} needs a trained teacher, and {path} "
            "does not exist. Train one with --task=teacher or name one by --teacher."
        )
    return _train(experiment, path)


def train_recogniser(experiment, model, field, phase, steps, learning_rate):
    """Trains a network from the labeled pairs alone, on one of their two clips."""
    config, data = experiment.config, experiment.data
    num_classes = len(data.index.classes)
    networks.compile_recogniser(model, config, steps, learning_rate)

    def batches_from(step):
        batches = experiment.batches(data.labeled, step, fields=(field,))
        return batches.map(
            lambda batch: (batch[field], tf.one_hot(batch[pipeline.LABEL], num_classes))
        )

    loop.train(
        model,
        batches_from,
        steps,
        run=experiment.directory,
        phase=phase,
        validate=experiment.validation(model, field),
        validate_every=config.training.validate_every,
    )


def _train(experiment, path):
    config = experiment.config
    model = networks.build_teacher(config, len(experiment.data.index.classes))
    train_recogniser(
        experiment,
        model,
        pipeline.FUTURE,
        "teacher",
        config.training.teacher_steps,
        config.training.teacher_learning_rate,
    )
    experiment.save(model, path)
    return model


def _load(path, classes):
    model = keras.saving.load_model(path, compile=False)
    if model.output.shape[-1] != len(classes):
        raise ValueError(
            f"The teacher {path} knows {model.output.shape[-1]} classes, the data set "
            f"has {len(classes)}: {', '.join(classes)}."
        )
    print(f"teacher: {path}", flush=True)
    return model
