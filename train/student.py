"""Trains anticipation networks: from labels alone, or from labels and the teacher."""

import keras

import kd_keras
from kd_keras.data.batches.fields import OBSERVED
from kd_keras.distill import Distiller
from kd_keras.models.backbones import tokens_of
from kd_keras.training.feature_reader import num_channels
from train import networks
from train.stored_features import StoredFeatures, weights_checksum
from train.teacher import train_supervised
from train.teacher_cache import TeacherCache


def load_or_train_student(experiment, method, teacher):
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
        training = experiment.config.training
        train_supervised(
            experiment,
            student if stored is None else stored.tail,
            [*experiment.data.labeled, *experiment.data.action_pairs],
            OBSERVED,
            f"student_{method}",
            training.student_steps,
            training.student_learning_rate,
            stored,
        )
    else:
        _distil(experiment, method, student, teacher, stored)
    if stored is not None:
        stored.join()
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


def feature_weight(options, steps):
    """Returns the arguments of `Distiller` that say how λ is found.

    Args:
        options: The run's `Distillation`.
        steps: Length of the training, over which --feature_weight_schedule goes.
    """
    name = options.feature_weight_schedule
    if options.feature_weight == "auto":
        ratio = _scheduled(name, options.feature_gradient_ratio, steps)
        return {"feature_weight": "auto", "gradient_ratio": ratio}
    return {"feature_weight": _scheduled(name, options.feature_weight, steps)}


def _scheduled(name, value, steps):
    schedules = keras.optimizers.schedules
    if name == "linear_up":
        return schedules.PolynomialDecay(0.0, steps, end_learning_rate=value)
    if name == "cosine_down":
        return schedules.CosineDecay(value, steps)
    return value


def _distil(experiment, method, student, teacher, stored):
    config, data = experiment.config, experiment.data
    options, training = config.distillation, config.training
    network = student if stored is None else stored.tail
    layers = networks.student_feature_layers(config, student)
    teacher_layers = networks.teacher_feature_layers(config, student, teacher)
    channels = None
    if stored is not None:
        channels = [num_channels(teacher, layer) for layer in teacher_layers]
    loss = feature_loss(method, options)
    if loss is not None and experiment.distribution.is_chief:
        _say_layers(method, student, layers)
    distiller = Distiller(
        network,
        teacher if stored is None else None,
        feature_loss=loss,
        feature_layer=layers,
        teacher_feature_layer=teacher_layers,
        temperature=options.temperature,
        feature_channels=channels,
        rematerialize=training.remat,
        **feature_weight(options, training.student_steps),
    )
    pairs = data.for_students
    cache = None
    if stored is None and options.teacher_cache != "off":
        cache = TeacherCache(
            experiment,
            pairs,
            distiller.teacher,
            loss,
            0 if loss is None else len(layers),
            (weights_checksum(teacher.get_weights()), teacher_layers, options.alpha),
        )

    def batches_from(step):
        if stored is not None:
            return stored.batches(pairs, step, method)
        if cache is not None:
            return cache.batches(step)
        return experiment.batches(pairs, step)

    experiment.train(
        distiller,
        batches_from,
        training.student_steps,
        training.student_learning_rate,
        network=network,
        phase=f"student_{method}",
        pairs=pairs,
        validate=(experiment if stored is None else stored).validation(
            student, OBSERVED
        ),
    )


def _say_layers(method, student, layers):
    for layer in layers:
        *positions, channels = student.get_layer(layer).output.shape[1:]
        print(
            f"student_{method} compares the maps of {layer}: "
            f"{' x '.join(map(str, positions))} = {tokens_of(student, layer)} tokens "
            f"of {channels} channels",
            flush=True,
        )
