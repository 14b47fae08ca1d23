"""Trains anticipation networks: from labels alone, or from labels and the teacher."""

import pathlib
from collections.abc import Iterable
from typing import Any

import keras

import kd_keras
from kd_keras.data.batches.fields import OBSERVED
from kd_keras.distill import Distiller
from kd_keras.distill.gradient_ratio import Schedule
from kd_keras.models.backbones import tokens_of
from kd_keras.training.feature_reader import num_channels
from train import networks, phases, results
from train.experiment import Experiment
from train.flags.learning import LABELS_ALONE, Distillation
from train.stored_features import StoredFeatures
from train.teacher_cache import TeacherCache


def load_or_train_student(
    experiment: Experiment, method: str, teacher: keras.Model
) -> keras.Model:
    """Returns a trained student; trains it unless the run directory holds it.

    Args:
        experiment: The `Experiment`.
        method: One of `METHODS`.
        teacher: The trained teacher.
    """
    path = student_path(experiment, method)
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    if experiment.config.run.task == "evaluate":
        raise ValueError(
            f"--task=evaluate needs trained students, and {path} does not exist. Train "
            "it with --task=student."
        )
    init = "pretrained" if method == "no_teacher" else None
    student = networks.start_student(experiment.config, teacher, init)
    loss = feature_loss(method, experiment.config.distillation)
    source = _source(experiment, method, student, teacher, loss)
    if method in LABELS_ALONE:
        model = phases.supervised(experiment.config, source)
    else:
        model = _distiller(experiment, method, student, teacher, loss, source)
    training = experiment.config.training
    phases.train(
        experiment,
        f"student_{method}",
        model,
        source,
        training.student_steps,
        training.student_learning_rate,
    )
    results.save(experiment, student, path)
    return student


def student_path(experiment: Experiment, method: str) -> pathlib.Path:
    """Returns where the student of a method is, or is to be."""
    return experiment.directory / "students" / f"{method}.keras"


def feature_loss(method: str, distillation: Distillation) -> keras.losses.Loss | None:
    """Returns the feature loss of a method, or None.

    Args:
        method: One of `METHODS`.
        distillation: The run's `Distillation` flags.
    """
    if method == "direct":
        return kd_keras.DirectLoss(**_distance(distillation))
    if method == "attention":
        return attention_loss(distillation)
    return None


def attention_loss(distillation: Distillation) -> kd_keras.AttentionalPoolingLoss:
    """Returns L_d as the flags describe it."""
    return kd_keras.AttentionalPoolingLoss(
        alpha=distillation.alpha,
        direction=distillation.direction,
        chunk_size=distillation.chunk_size,
        **_distance(distillation),
    )


def _distance(distillation: Distillation) -> dict[str, Any]:
    """The arguments of both losses that say how far apart two maps are."""
    return {
        "distance": distillation.distance,
        "delta": distillation.delta,
        "tokens": distillation.tokens,
    }


def feature_weight(distillation: Distillation, steps: int) -> dict[str, Any]:
    """Returns the arguments of `Distiller` that say how λ is found.

    Args:
        distillation: The run's `Distillation` flags.
        steps: Length of the training, over which --feature_weight_schedule goes.
    """
    name = distillation.feature_weight_schedule
    if isinstance(distillation.feature_weight, str):
        ratio = _scheduled(name, distillation.feature_gradient_ratio, steps)
        return {"feature_weight": "auto", "gradient_ratio": ratio}
    return {"feature_weight": _scheduled(name, distillation.feature_weight, steps)}


def _scheduled(name: str, value: float, steps: int) -> Schedule:
    schedules = keras.optimizers.schedules
    if name == "linear_up":
        return schedules.PolynomialDecay(0.0, steps, end_learning_rate=value)
    if name == "cosine_down":
        return schedules.CosineDecay(value, steps)
    return value


def _source(
    experiment: Experiment,
    method: str,
    student: keras.Model,
    teacher: keras.Model,
    loss: keras.losses.Loss | None,
) -> phases.Source:
    """Returns what the student learns from."""
    config, data = experiment.config, experiment.data
    pairs = data.for_students
    if method in LABELS_ALONE:
        pairs = [*data.labeled, *data.action_pairs]
    if config.data.features is not None:
        return StoredFeatures(experiment, student, teacher, pairs, method)
    if method in LABELS_ALONE:
        return phases.Clips(experiment, student, pairs, fields=(OBSERVED,))
    if config.distillation.teacher_cache != "off":
        return TeacherCache(experiment, student, teacher, pairs, loss)
    return phases.Clips(experiment, student, pairs)


def _distiller(
    experiment: Experiment,
    method: str,
    student: keras.Model,
    teacher: keras.Model,
    loss: keras.losses.Loss | None,
    source: phases.Source,
) -> Distiller:
    config = experiment.config
    layers: tuple[str, ...] = ()
    teacher_layers: tuple[str, ...] = ()
    channels = None
    if loss is not None:
        layers = networks.student_feature_layers(config, student)
        teacher_layers = networks.teacher_feature_layers(config, student, teacher)
        channels = [num_channels(teacher, layer) for layer in teacher_layers]
        if experiment.distribution.is_chief:
            _say_layers(method, student, layers)
    return Distiller(
        source.network,
        None if source.has_targets else teacher,
        feature_loss=loss,
        feature_layer=layers,
        teacher_feature_layer=teacher_layers,
        temperature=config.distillation.temperature,
        feature_channels=channels,
        rematerialize=config.training.remat,
        **feature_weight(config.distillation, config.training.student_steps),
    )


def _say_layers(method: str, student: keras.Model, layers: Iterable[str]) -> None:
    for layer in layers:
        *positions, channels = student.get_layer(layer).output.shape[1:]
        print(
            f"student_{method} compares the maps of {layer}: "
            f"{' x '.join(map(str, positions))} = {tokens_of(student, layer)} tokens "
            f"of {channels} channels",
            flush=True,
        )
