"""Builds and starts the networks of a run."""

import dataclasses
import functools
from collections.abc import Iterable

import keras

from kd_keras.data.clips.format import MODALITIES
from kd_keras.distill.distiller import check_learns
from kd_keras.models import backbones
from kd_keras.training import cuts, half_precision
from train import feature_data
from train.flags.config import Config
from train.flags.data import Data
from train.flags.learning import FEATURE_METHODS
from train.loop import guards

# Batch, positions and channels, at least.
_MAP_AXES = 3


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What teacher and student may differ in."""

    backbone: str
    width: float
    weights: str | None


def student_architecture(config: Config) -> Architecture:
    """Returns the `Architecture` that the flags give the students."""
    network = config.network
    return Architecture(network.backbone, network.width, network.weights)


def teacher_architecture(config: Config) -> Architecture:
    """Returns the teacher's: that of the students, except what has flags of its own."""
    network, student = config.network, student_architecture(config)
    backbone, width = network.teacher_backbone, network.teacher_width
    weights = network.teacher_weights
    backbone = student.backbone if backbone is None else backbone
    if width is None:
        width = student.width if weights is None else 1.0
    if weights is None and (backbone, width) == (student.backbone, student.width):
        weights = student.weights
    return Architecture(backbone, width, weights)


def check_networks(config: Config, num_classes: int) -> None:
    """Finds out before the teacher is trained what would stop the students.

    Raises:
        ValueError: If a network cannot be built, lacks the layer that is compared or
            has nothing to learn before it, or the students cannot start as
            --student_init says.
    """
    student = teacher = build_student(config, num_classes)
    if teacher_architecture(config) != student_architecture(config):
        teacher = build_teacher(config, num_classes)
    _freeze_stem(config, student)
    layers = student_feature_layers(config, student)
    _check_layers("feature_layer", student, layers)
    if not FEATURE_METHODS.isdisjoint(config.distillation.students):
        for layer in layers:
            check_learns(student, layer)
    if config.run.teacher is None:
        check_pair(config, student, teacher)


def check_pair(config: Config, student: keras.Model, teacher: keras.Model) -> None:
    """Finds out before a student is trained what of the teacher would stop another.

    Raises:
        ValueError: If the students cannot start as --student_init says, or the teacher
            lacks the layer that is compared.
    """
    students = set(config.distillation.students)
    if students != {"no_teacher"}:
        _check_start(config, student, teacher)
    if FEATURE_METHODS.isdisjoint(students):
        return
    layers = student_feature_layers(config, student)
    teacher_layers = teacher_feature_layers(config, student, teacher)
    _check_layers("teacher_feature_layer", teacher, teacher_layers)
    if len(layers) != len(teacher_layers):
        raise ValueError(
            f"--feature_layer names {len(layers)} layers and "
            f"--teacher_feature_layer {len(teacher_layers)}: each is compared with "
            "one of the other network."
        )


def build_teacher(config: Config, num_classes: int) -> keras.Model:
    """Returns a teacher with its starting weights."""
    return _build(config, teacher_architecture(config), num_classes, config.run.seed)


def build_student(config: Config, num_classes: int) -> keras.Model:
    """Returns a student with its starting weights, its head at random.

    A run's teacher of the same architecture starts from the same.
    """
    return _build(config, student_architecture(config), num_classes, config.run.seed)


def start_student(
    config: Config, teacher: keras.Model, init: str | None = None
) -> keras.Model:
    """Returns a student that starts where --student_init says.

    With --stored_layer, everything up to it stays as it starts.

    Args:
        config: The run's flags.
        teacher: The trained teacher.
        init: Used instead of --student_init.
    """
    num_classes = teacher.output.shape[-1]
    init = init or config.distillation.student_init
    if init == "fresh":
        # Another seed than the teacher's: their channels have never met.
        fresh = dataclasses.replace(student_architecture(config), weights=None)
        student = _build(config, fresh, num_classes, (config.run.seed + 1) % 2**32)
    else:
        student = build_student(config, num_classes)
    if init == "teacher":
        _check_start(config, student, teacher)
        student.set_weights(teacher.get_weights())
    _freeze_stem(config, student)
    return student


def stem(student: keras.Model, layer: str) -> keras.Model:
    """Returns the part of a student up to a layer, as `cuts.stem_of` does."""
    stages = cuts.stages_of(student)
    if layer not in stages:
        raise ValueError(
            "--stored_layer must be a layer whose output is all that the rest of the "
            f"network needs. Those of {student.name} are {', '.join(stages)}. Got "
            f"{layer}."
        )
    return cuts.stem_of(student, layer)


def tail(student: keras.Model, layer: str) -> keras.Model:
    """Returns the part of a student behind a layer, a copy of its own."""
    model = cuts.tail_of(student, layer)
    keep_right(model)
    copy_layers(student, model)
    return model


def keep_right(model: keras.Model, clip_shape: tuple[int, ...] | None = None) -> None:
    """Lets the layers compute in float32 that half precision gets wrong; names them.

    Args:
        clip_shape: As `half_precision.keep_right` takes it.
    """
    layers: dict[str, list[str]] = {}
    for name, problem in half_precision.keep_right(model, clip_shape).items():
        layers.setdefault(problem, []).append(name)
    for problem, names in layers.items():
        _warn_once(
            f"{len(names)} layers of {model.name} compute in float32 ("
            f"{', '.join(names)}): {problem}. With TF_ENABLE_ONEDNN_OPTS=0 other code "
            "computes them."
        )


# A run builds its networks several times.
_warn_once = functools.cache(guards.warn)


def copy_layers(source: keras.Model, target: keras.Model) -> None:
    """Sets the layers of `target` to those of the same names in `source`.

    The state of random numbers is copied, too: dropout goes on alike.
    """
    names = {layer.name for layer in source.layers}
    for layer in target.layers:
        if layer.name not in names:
            continue
        there = source.get_layer(layer.name)
        layer.trainable = there.trainable
        for variable, value in zip(layer.variables, there.variables, strict=True):
            variable.assign(value)


def stored_layer(config: Config) -> str:
    """Returns the layer whose output is stored, for the rest of the student."""
    default = backbones.find(config.network.backbone).stored_layer
    return config.distillation.stored_layer or default


def student_feature_layers(config: Config, student: keras.Model) -> tuple[str, ...]:
    """Returns the names of the layers whose maps are compared, in the student.

    If none is named, one behind the layer whose output is stored.
    """
    layers = config.distillation.feature_layer
    if not layers:
        behind = config.distillation.stored_layer
        if config.data.features is not None:
            behind = stored_layer(config)
        return (backbones.default_feature_layer(student, behind),)
    return layers


def teacher_feature_layers(
    config: Config, student: keras.Model, teacher: keras.Model
) -> tuple[str, ...]:
    """Returns the names of the layers whose maps are compared, in the teacher."""
    layers = config.distillation.teacher_feature_layer
    if layers:
        return layers
    if teacher.name == student.name:
        return student_feature_layers(config, student)
    if teacher.name not in backbones.BACKBONES:
        raise ValueError(
            f"The network of the teacher, {teacher.name!r}, is unknown here. Name its "
            "layer whose maps are compared by --teacher_feature_layer."
        )
    return (backbones.default_feature_layer(teacher),)


def _check_layers(flag: str, model: keras.Model, layers: Iterable[str]) -> None:
    names = [layer.name for layer in model.layers]
    for layer in layers:
        if layer not in names:
            raise ValueError(
                f"--{flag}: {model.name} has no layer {layer!r}. Choose one of: "
                f"{', '.join(names)}."
            )
        if len(model.get_layer(layer).output.shape) < _MAP_AXES:
            raise ValueError(
                f"--{flag}: {layer} of {model.name} has no positions, only a vector "
                "for each clip. Choose a layer before the pooling."
            )


def _build(
    config: Config, architecture: Architecture, num_classes: int, seed: int
) -> keras.Model:
    keras.utils.set_random_seed(seed)
    network = config.network
    random_attributes = network.attribute_weights == "random"
    image_size, channels = _map_size(config.data)
    model = backbones.build_backbone(
        architecture.backbone,
        num_classes=num_classes,
        num_frames=config.data.num_frames,
        image_size=image_size,
        channels=channels,
        width=architecture.width,
        dropout=network.dropout,
        batch_norm_momentum=network.batch_norm_momentum,
        segments=network.segments,
        attribute_weights=None if random_attributes else network.attribute_weights,
        attribute_width=architecture.width if random_attributes else 1.0,
    )
    keep_right(model)
    if architecture.weights is not None:
        backbones.load_backbone_weights(model, architecture.weights, include_head=False)
    if network.freeze_batch_norm:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    if network.freeze_until is not None:
        _freeze_until(model, network.freeze_until)
    return model


def _map_size(flags: Data) -> tuple[int | tuple[int, int], int]:
    """(height, width), or pixels, and channels of a time step of a clip."""
    if flags.dataset != "features":
        return flags.image_size, MODALITIES[flags.modality]
    height, width, channels = feature_data.shape(flags)
    return (height, width), channels


def _freeze_until(model: keras.Model, name: str) -> None:
    if name not in [layer.name for layer in model.layers]:
        raise ValueError(
            f"--freeze_until: {model.name} has no layer {name!r}. Choose one of: "
            f"{', '.join(layer.name for layer in model.layers)}."
        )
    for layer in keras.Model(model.input, model.get_layer(name).output).layers:
        layer.trainable = False


def _freeze_stem(config: Config, student: keras.Model) -> None:
    if config.distillation.stored_layer is not None:
        for layer in stem(student, config.distillation.stored_layer).layers:
            layer.trainable = False


def _check_start(config: Config, student: keras.Model, teacher: keras.Model) -> None:
    if config.distillation.student_init == "teacher" and _shapes(student) != _shapes(
        teacher
    ):
        raise ValueError(
            "--student_init=teacher copies the teacher's weights, so both networks "
            f"must be the same. The student is {student.name} with "
            f"{student.count_params():,} weights, the teacher {teacher.name} with "
            f"{teacher.count_params():,}; use --student_init=pretrained or fresh."
        )


def _shapes(model: keras.Model) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.weights]
