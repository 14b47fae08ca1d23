"""Trains the recognition network on the labeled future clips."""

import pathlib

import keras
import tensorflow as tf

from kd_keras.data import pipeline
from train import loop, networks


def get_teacher(experiment):
    """Returns the run's teacher: given, already trained, or trained now."""
    path = teacher_path(experiment.config.run)
    if path.exists():
        return _load(path, experiment.data.index.classes)
    if experiment.config.run.task in ("student", "evaluate"):
        raise ValueError(
            f"--task={experiment.config.run.task} needs a trained teacher, and {path} "
            "does not exist. Train one with --task=teacher or name one by --teacher."
        )
    return _train(experiment, path)


def teacher_path(run):
    """Returns where a run's teacher is, or is to be."""
    if run.teacher is None:
        return pathlib.Path(run.run_dir) / "teacher.keras"
    path = pathlib.Path(run.teacher)
    if not path.exists():
        raise ValueError(f"--teacher={path} does not exist; give a .keras file.")
    return path


def load_teacher(config, classes):
    """Returns the teacher that exists; trains none."""
    if config.run.teacher is None and config.run.run_dir is None:
        raise ValueError("Name a trained teacher: --teacher=FILE, or its --run_dir.")
    path = teacher_path(config.run)
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Train the teacher first: python -m train.main "
            "--task=teacher with the same flags, or name one by --teacher."
        )
    return _load(path, classes)


def train_recogniser(
    experiment, model, field, phase, steps, learning_rate, batches=None, validate=None
):
    """Trains a network from the labeled pairs alone, on one of their two clips.

    `batches` and `validate` take the place of those of the videos.
    """
    config, data = experiment.config, experiment.data
    num_classes = len(data.index.classes)
    networks.compile_recogniser(model, config, steps, learning_rate)

    def labeled_batches(step):
        return experiment.batches(data.labeled, step, fields=(field,))

    def batches_from(step):
        return (batches or labeled_batches)(step).map(
            lambda batch: (batch[field], tf.one_hot(batch[pipeline.LABEL], num_classes))
        )

    loop.train(
        model,
        batches_from,
        steps,
        run=experiment.directory,
        phase=phase,
        validate=validate or experiment.validation(model, field),
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
