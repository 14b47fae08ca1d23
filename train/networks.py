"""Builds, starts and compiles the networks of a run."""

import keras

from kd_keras import I3D, load_i3d_weights
from kd_keras.data.clip_format import MODALITIES
from kd_keras.models.i3d import ENDPOINTS


def build(config, num_classes, seed=None, published=True):
    """Returns an I3D with its starting weights.

    Args:
        config: The run's `Config`.
        num_classes: Number of classes of the head, which always starts at random.
        seed: Of the random weights; None takes the run's seed, so that two calls
            give equal networks.
        published: False starts at random even where the run has published weights.
    """
    keras.utils.set_random_seed(config.run.seed if seed is None else seed)
    network = config.network
    model = _i3d(config, num_classes)
    if published and network.weights is not None:
        load_i3d_weights(model, network.weights, include_head=False)
    if network.freeze_batch_norm:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    return model


def start_student(config, teacher):
    """Returns a student that starts where --student_init says.

    With --layer, everything up to it stays as it starts.
    """
    num_classes = teacher.output.shape[-1]
    init = config.distillation.student_init
    if init == "fresh":
        # Another seed than the teacher's: their channels have never met.
        student = build(config, num_classes, seed=config.run.seed + 1, published=False)
    else:
        student = build(config, num_classes)
    if init == "teacher":
        shapes = [w.shape for w in student.weights]
        if shapes != [w.shape for w in teacher.weights]:
            raise ValueError(
                "--student_init=teacher copies the teacher's weights into the student, "
                "and theirs have other shapes. Give the teacher's --width, or "
                "--student_init=pretrained or fresh."
            )
        student.set_weights(teacher.get_weights())
    if config.distillation.layer is not None:
        for layer in stem(student, config.distillation.layer).layers:
            layer.trainable = False
    return student


def stem(student, layer):
    """Returns the part of a student from its input to a layer; it shares its layers."""
    if layer not in ENDPOINTS[:-1]:
        raise ValueError(
            f"--layer must be one of {', '.join(ENDPOINTS[:-1])}. Got {layer}."
        )
    return keras.Model(student.input, student.get_layer(layer).output)


def tail(config, student, layer):
    """Returns the part of a student behind a layer, a copy of its own."""
    model = _i3d(config, student.output.shape[-1], start=layer)
    copy_layers(student, model)
    return model


def copy_layers(source, target):
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


def compile_recogniser(model, config, steps, learning_rate):
    """Compiles a network to learn from labels alone."""
    model.compile(
        optimizer=optimizer(config, steps, learning_rate),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.training.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy(name="top1")],
    )


def optimizer(config, steps, learning_rate):
    """Returns the optimizer with linear warm-up and cosine decay to 0."""
    training = config.training
    warmup = min(training.warmup_steps, steps - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / (warmup + 1),
        decay_steps=steps - warmup,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )
    if training.optimizer == "sgd":
        chosen = keras.optimizers.SGD(
            schedule, momentum=training.momentum, weight_decay=training.weight_decay
        )
    else:
        chosen = keras.optimizers.AdamW(schedule, weight_decay=training.weight_decay)
    chosen.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return chosen


def _i3d(config, num_classes, start=None):
    network = config.network
    return I3D(
        num_classes=num_classes,
        num_frames=config.data.num_frames,
        image_size=config.data.image_size,
        channels=MODALITIES[config.data.modality],
        width=network.width,
        dropout=network.dropout,
        batch_norm_momentum=network.batch_norm_momentum,
        start=start,
    )
