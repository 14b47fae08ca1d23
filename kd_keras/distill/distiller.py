"""Trains a student from labels, pseudo-labels and feature maps (paper, eq. 1-2)."""

import math
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import keras

from kd_keras.distill.gradient_ratio import Schedule
from kd_keras.distill.teacher import FrozenTeacher
from kd_keras.losses import SoftLabelLoss
from kd_keras.metrics import ClassMeanRecall
from kd_keras.models.outputs import gives_probabilities
from kd_keras.training.feature_reader import layer_names, num_channels

# Type checkers see the step of TensorFlow.
if TYPE_CHECKING or keras.backend.backend() == "tensorflow":
    from kd_keras.distill.tensorflow_step import TensorFlowStep as Step
elif keras.backend.backend() == "jax":
    from kd_keras.distill.jax_step import JaxStep as Step
else:
    from kd_keras.distill.torch_step import TorchStep as Step

# Chosen on generated videos that no table is of (docs/choices.md).
DEFAULT_GRADIENT_RATIO = 0.3


@keras.saving.register_keras_serializable(package="kd_keras")
class Distiller(Step):
    """Trains an anticipation network from a recognition network.

    The loss is the mean over the batch of

        KL(label or teacher's prediction || student(observed))
        + feature_weight * feature_loss(teacher's map, student's map)

    with the label if `labeled`, and the teacher's prediction otherwise. What layers of
    the student add themselves, such as a `kernel_regularizer`, is added to it, and is
    part of the metric `loss`. A batch is a dict:

        observed: Clips (batch, time, height, width, channels) in [-1, 1].
        future: The teacher's clips, any size the teacher takes. Or, in its place, what
            the teacher said of them: `teacher_probabilities` (batch, num_classes)
            and, for a feature loss, `teacher_features` (batch, ..., channels), or a
            tuple of them, one for each feature layer.
        label: Class indices (batch,); any value if not labeled.
        labeled: Booleans (batch,).

    Only the student is trained, and the 1x1x1 projection of its map that exists where
    the two maps differ in channels. Calling the distiller calls the student.

    It trains on every Keras backend by `fit`. `rematerialize` and tf.distribute need
    TensorFlow. JAX compiles the step again for every size of a batch.

    Args:
        student: A functional Keras model from clips to logits. In the place of a
            Sequential stands a functional model of the same layers.
        teacher: Another over the same classes, which may end in a softmax instead, or
            None: every batch brings the teacher's targets.
        feature_loss: A loss over (teacher's map, student's map) that gives a value
            per example, such as `AttentionalPoolingLoss`; None uses no maps.
        feature_weight: λ, >= 0, of the mean feature loss: a number, or a function of
            the step such as `keras.optimizers.schedules` has. Or "auto": λ follows the
            gradients, as `GradientRatioWeight` says.
        feature_layer: Name of the layer whose maps are compared, or several names,
            whose losses are added up.
        teacher_feature_layer: The same in the teacher, if it differs.
        temperature: > 0, softens pseudo-labels and the student's prediction of them.
        gradient_ratio: > 0, the ratio that "auto" keeps between the gradient of the
            weighted feature loss and the gradient of the other terms, for the map of
            the last feature layer: a number, or a function of the step.
        feature_channels: Channels of stored teacher maps, for each feature layer;
            needed only if teacher is None and they differ from the student's.
        rematerialize: Whether the student is trained in less memory, by computing
            most of its maps twice. Losses that a layer's `call` adds are then left out.
    Raises:
        ValueError: For values out of range, layers that do not exist or have no
            trainable weights before them, a network that is no functional model or has
            several inputs or outputs, a student that ends in a softmax or sigmoid,
            weights that student and teacher share, or what is no loss.
    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import kd_keras
        >>> def network():
        ...     clip = keras.Input((4, 8, 8, 3))
        ...     x = keras.layers.Conv3D(6, 3, activation="relu", name="map")(clip)
        ...     x = keras.layers.GlobalAveragePooling3D()(x)
        ...     return keras.Model(clip, keras.layers.Dense(5)(x))
        >>> distiller = kd_keras.Distiller(
        ...     student=network(),
        ...     teacher=network(),
        ...     feature_loss=kd_keras.AttentionalPoolingLoss(),
        ...     feature_weight="auto",
        ...     feature_layer="map",
        ... )
        >>> distiller.compile(optimizer="adam")
        >>> random = np.random.default_rng(0)
        >>> clips = random.uniform(-1, 1, (4, 4, 8, 8, 3)).astype("float32")
        >>> batch = {
        ...     "observed": clips,
        ...     "future": clips[::-1],
        ...     "label": np.array([2, 4, 0, 0]),
        ...     "labeled": np.array([True, True, False, False]),
        ... }
        >>> history = distiller.fit(batch, epochs=2, verbose=0).history
        >>> len(history["feature_loss"]), len(history["pseudo_label_loss"])
        (2, 2)
        >>> tuple(distiller.student(clips).shape)
        (4, 5)
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model | None,
        feature_loss: keras.losses.Loss | None = None,
        feature_weight: Schedule | Literal["auto"] = 1.0,
        feature_layer: str | Sequence[str] = "Mixed_5c",
        temperature: float = 1.0,
        feature_channels: int | Sequence[int] | None = None,
        teacher_feature_layer: str | Sequence[str] | None = None,
        rematerialize: bool = False,
        gradient_ratio: Schedule = DEFAULT_GRADIENT_RATIO,
        name: str = "distiller",
    ) -> None:
        super().__init__(name=name)
        # Half precision is the student's own choice.
        self.autocast = False
        _check_weight(feature_weight)
        _check_feature_loss(feature_loss)
        student = _functional(student, "student")
        if teacher is not None:
            teacher = _functional(teacher, "teacher")
        if gives_probabilities(student):
            raise ValueError(
                f"The student {student.name} ends in a softmax, and its loss is of "
                "logits: it would get a second one. Remove the last softmax; "
                "export.main adds it for serving."
            )
        if teacher is not None and teacher.output.shape[-1] != student.output.shape[-1]:
            raise ValueError(
                "Teacher and student must know the same classes. Got "
                f"{teacher.output.shape[-1]} and {student.output.shape[-1]}."
            )
        if teacher_feature_layer is None:
            teacher_feature_layer = feature_layer
        layers, teacher_layers = map(
            layer_names, (feature_layer, teacher_feature_layer)
        )
        if feature_loss is None:
            layers = teacher_layers = ()
        elif not layers:
            raise ValueError(
                "A feature loss needs the name of a feature_layer, or several. Got "
                f"{feature_layer!r}; without a feature loss, give feature_loss=None."
            )
        if len(layers) != len(teacher_layers):
            raise ValueError(
                "Each feature layer of the student is compared with one of the "
                f"teacher. Got {', '.join(layers)} and {', '.join(teacher_layers)}."
            )
        self.student = student
        self.feature_weight = feature_weight
        self._label_loss = SoftLabelLoss(temperature=temperature)
        self.teacher = None
        if teacher is not None:
            self.teacher = FrozenTeacher(teacher, teacher_layers or None)
        self._compared, self.projections = layers, []
        is_auto = feature_weight == "auto" and feature_loss is not None
        self._prepare(
            student,
            layers,
            feature_loss,
            gradient_ratio if is_auto else None,
            rematerialize,
        )
        for layer in layers:
            check_learns(student, layer)
        if teacher is not None:
            _check_separate(student, teacher)
        if feature_loss is not None:
            channels = [num_channels(student, layer) for layer in layers]
            wanted: Sequence[int] = channels
            if teacher is not None:
                wanted = [num_channels(teacher, layer) for layer in teacher_layers]
            elif isinstance(feature_channels, (int, numbers.Integral)):
                wanted = [int(feature_channels)]
            elif feature_channels is not None:
                wanted = feature_channels
            if len(wanted) != len(channels):
                raise ValueError(
                    "feature_channels needs one number for each compared layer of the "
                    f"student: {', '.join(layers)}. Got {list(wanted)}."
                )
            self.projections = [
                _projection(*numbers) for numbers in zip(channels, wanted, strict=True)
            ]
        num_classes = student.output.shape[-1]
        self._terms = {
            term: keras.metrics.Mean(name=term)
            for term in ("loss", "label_loss", "pseudo_label_loss", "feature_loss")
        }
        self._scores = [
            keras.metrics.SparseTopKCategoricalAccuracy(1, name="top1"),
            # PyTorch finds no more classes than there are.
            keras.metrics.SparseTopKCategoricalAccuracy(
                min(5, num_classes), name="top5"
            ),
            ClassMeanRecall(num_classes),
        ]
        self._agreement = keras.metrics.Mean(name="agreement")
        self._weights_seen = []
        if self._auto is not None:
            self._weights_seen = [
                keras.metrics.Mean(name=name)
                for name in ("feature_weight", "feature_gradient_ratio")
            ]
        self.built = True

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: None = None,
        loss_weights: None = None,
        metrics: None = None,
        weighted_metrics: None = None,
        **options: Any,
    ) -> None:
        """Sets the optimizer and the other options of Keras's `compile`.

        Raises:
            ValueError: If there is a loss or a metric: the distiller has its own.
        """
        unused = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        names = [name for name, value in unused.items() if value is not None]
        if names:
            raise ValueError(
                "A Distiller has its own losses and metrics, and would not use "
                f"{' and '.join(names)}. Got them in compile(); leave them out, and "
                "give the loss of feature maps as Distiller(feature_loss=...)."
            )
        super().compile(optimizer=optimizer, **options)

    def fit(
        self,
        *data: Any,
        class_weight: None = None,
        sample_weight: None = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """As Keras's `fit`, but refuses weights, which would be dropped without `y`."""
        _check_unweighted(class_weight, sample_weight)
        return super().fit(*data, **options)

    def evaluate(self, *data: Any, sample_weight: None = None, **options: Any) -> Any:
        """As Keras's `evaluate`, but refuses weights as `fit` does."""
        _check_unweighted(None, sample_weight)
        return super().evaluate(*data, **options)

    def train_on_batch(
        self,
        *data: Any,
        class_weight: None = None,
        sample_weight: None = None,
        **options: Any,
    ) -> Any:
        """As Keras's `train_on_batch`, but refuses weights as `fit` does."""
        _check_unweighted(class_weight, sample_weight)
        return super().train_on_batch(*data, **options)

    def get_config(self) -> dict:
        raise NotImplementedError(
            "A Distiller is not saved as a whole, as its teacher is not saved. Save "
            "the network with distiller.student.save(...), or the weights, the "
            "optimizer's too, with save_weights(...) or "
            "ModelCheckpoint(..., save_weights_only=True)."
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [
            *self._terms.values(),
            *self._scores,
            self._agreement,
            *self._weights_seen,
        ]


def _check_unweighted(class_weight: object, sample_weight: object) -> None:
    given = {"class_weight": class_weight, "sample_weight": sample_weight}
    names = [name for name, value in given.items() if value is not None]
    if names:
        raise ValueError(
            "Every example counts the same to a Distiller, and it would not use "
            f"{' and '.join(names)}. Leave them out; to make examples count more, "
            "repeat them in the data."
        )


def _functional(model: keras.Model, role: str) -> keras.Model:
    """Returns a network whose layers can be read, with the layers of `model`."""
    if getattr(model, "outputs", None) is None:
        name = getattr(model, "name", repr(model))
        raise ValueError(
            f"The {role} {name} must be a functional Keras model, or a "
            "Sequential that begins with keras.Input: its layers are read by name. Got "
            f"a {type(model).__name__} without outputs."
        )
    inputs, outputs = len(model.inputs), len(model.outputs)
    if (inputs, outputs) != (1, 1):
        raise ValueError(
            f"The {role} {model.name} must have one input, clips, and one output, "
            f"logits. Got {inputs} and {outputs}; give keras.Model(clips, logits) of "
            "its tensors, and name a layer whose map is compared as feature_layer."
        )
    bare = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if isinstance(model, keras.Sequential):
        return bare
    # One tensor may come in a list or a dict.
    is_bare = model.input is model.inputs[0] and model.output is model.outputs[0]
    return model if is_bare else bare


def check_learns(student: keras.Model, layer: str) -> None:
    """Raises if a feature loss at a layer has no weights to teach.

    Raises:
        ValueError: If all weights up to the layer are frozen.
    """
    feature_map = student.get_layer(layer).output
    if not keras.Model(student.input, feature_map).trainable_weights:
        raise ValueError(
            f"All weights of {student.name} up to {layer} are frozen, and a feature "
            "loss there teaches nothing. Freeze less, or compare a later layer."
        )


def _check_separate(student: keras.Model, teacher: keras.Model) -> None:
    """Raises if training the student would train the teacher."""
    of_teacher = {id(weight) for weight in teacher.weights}
    shared = [w.path for w in student.trainable_weights if id(w) in of_teacher]
    if shared:
        raise ValueError(
            "A teacher is never trained, and the student would train its weights. Got "
            f"{len(shared)} that both have, such as {shared[0]}; give the teacher as a "
            "copy: keras.models.clone_model(...), then set_weights(...)."
        )


def _projection(channels: int, wanted: int) -> keras.layers.Dense | None:
    """Returns what maps so many channels to as many as wanted; None if they agree."""
    if channels == wanted:
        return None
    projection = keras.layers.Dense(wanted, name="projection")
    projection.build((None, channels))
    return projection


def _check_weight(weight: Schedule | Literal["auto"]) -> None:
    known = callable(weight) or weight == "auto" or isinstance(weight, numbers.Real)
    if not known:
        raise ValueError(
            'feature_weight must be a number >= 0, a function of the step or "auto". '
            f"Got {weight!r}."
        )
    if not callable(weight) and weight != "auto" and not 0 <= weight < math.inf:
        raise ValueError(f"feature_weight must be finite and >= 0. Got {weight}.")


def _check_feature_loss(loss: object) -> None:
    if loss is not None and not isinstance(loss, keras.losses.Loss):
        raise ValueError(
            "feature_loss must be a keras.losses.Loss over (teacher's map, student's "
            f"map), such as kd_keras.AttentionalPoolingLoss(), or None. Got {loss!r}."
        )
