"""The terms of the loss and the metrics of a `Distiller`, the same on every backend."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import keras
from keras import ops

from kd_keras.data.batches.fields import (
    FUTURE,
    LABEL,
    LABELED,
    OBSERVED,
    TEACHER_FEATURES,
    TEACHER_PROBABILITIES,
)
from kd_keras.distill.gradient_ratio import GradientRatioWeight, Schedule
from kd_keras.distill.teacher import FrozenTeacher
from kd_keras.losses import SoftLabelLoss, feature_maps, soft_targets
from kd_keras.losses.tensor import Tensor

# What `Distiller` says a batch is, by field; and how Keras hands it to a step.
Batch: TypeAlias = Mapping[str, Tensor]
Data: TypeAlias = Batch | tuple[Batch | None, ...]
# A map for each feature layer.
Maps: TypeAlias = Sequence[Tensor]
# From clips to logits and maps, which are None if no layer is compared.
Reader: TypeAlias = Callable[..., tuple[Tensor, Maps | None]]
# The teacher's probabilities and maps, which are None without a feature loss.
Targets: TypeAlias = tuple[Tensor, Maps | None]
# The student's logits and maps; no maps without a feature loss.
Outputs: TypeAlias = tuple[Tensor, Maps]
# The divergence and the feature loss, or None, of each example.
ExampleLosses: TypeAlias = tuple[Tensor, Tensor | None]


def batch_of(data: Data) -> Batch:
    """Returns the batch in what Keras hands to a step; columns of labels are rows.

    Raises:
        ValueError: If there are targets or weights of examples beside it, it is no
            dict, a field is missing, or there is more than one label to an example.
    """
    batch, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
    if targets is not None or weights is not None:
        raise ValueError(
            "A batch is one dict, and the distiller uses neither targets (`y`) nor "
            f"weights of examples beside it. Give labels as the field {LABEL!r} alone."
        )
    needed = (OBSERVED, LABEL, LABELED)
    fields = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
    if not isinstance(batch, Mapping) or not set(needed) <= set(batch):
        raise ValueError(
            f"A batch must be a dict with {', '.join(map(repr, needed))} and the "
            f"teacher's clips or targets. Got {fields}; if no clip has a label, give "
            f"any {LABEL!r} and {LABELED!r} of False."
        )
    return {**batch, **{name: _row(batch, name) for name in (LABEL, LABELED)}}


def _row(batch: Batch, name: str) -> Tensor:
    """Returns a field of shape (batch,), which may come as (batch, 1)."""
    shape = tuple(batch[name].shape)
    if len(shape) == 1:
        return batch[name]
    if len(shape) != 2 or shape[1] != 1:
        raise ValueError(
            f"The field {name!r} of a batch must have shape (batch,). Got {shape}."
        )
    return ops.reshape(batch[name], (-1,))


class DistillationTerms(keras.Model):
    """What of the `Distiller` needs no backend of its own.

    The training step of a backend is a subclass, and `Distiller` is a subclass of that
    step. Its constructor sets the attributes.

    Attributes:
        student, feature_weight: As `Distiller` takes them.
        teacher: The frozen teacher; None if every batch brings its targets.
        projections: What maps each of the student's maps to as many channels as the
            teacher's; None if they agree.
    """

    student: keras.Model
    teacher: FrozenTeacher | None
    feature_weight: Schedule | Literal["auto"]
    projections: list[keras.layers.Dense | None]
    _compared: tuple[str, ...]
    _label_loss: SoftLabelLoss
    # Set by `_prepare`, which every step has. λ is `_auto`'s under "auto".
    _read_student: Reader
    _feature_loss: Callable[[Tensor, Tensor], Tensor] | None
    _auto: GradientRatioWeight | None
    _terms: dict[str, keras.metrics.Mean]
    _scores: list[keras.metrics.Metric]
    _agreement: keras.metrics.Mean
    _weights_seen: list[keras.metrics.Mean]

    def _teacher_targets(self, batch: Batch) -> Targets:
        """Returns the teacher's (probabilities, feature map) of the future clips."""
        if TEACHER_PROBABILITIES in batch:
            maps = batch.get(TEACHER_FEATURES)
            if maps is not None:
                maps = self._of_each_layer(maps)
            return batch[TEACHER_PROBABILITIES], maps
        if self.teacher is None:
            raise ValueError(
                "A distiller without a teacher needs batches with "
                f"{TEACHER_PROBABILITIES!r}. Got the fields {sorted(batch)}."
            )
        if FUTURE not in batch:
            raise ValueError(
                f"A batch must have the teacher's clips, {FUTURE!r}, or what it said "
                f"of them, {TEACHER_PROBABILITIES!r}. Got the fields {sorted(batch)}."
            )
        return self.teacher(batch[FUTURE])

    def _of_each_layer(self, maps: Tensor | Sequence[Tensor]) -> Maps:
        """Returns stored maps as a tuple with a map for each feature layer."""
        is_tuple = isinstance(maps, (tuple, list))
        # Of one layer, a tuple of two is a map and its self-attention.
        if len(self._compared) == 1 and not (is_tuple and len(maps) == 1):
            return (maps,)
        if self._compared and not (is_tuple and len(maps) == len(self._compared)):
            raise ValueError(
                f"{TEACHER_FEATURES!r} must be a tuple with a map for each feature "
                f"layer, {', '.join(self._compared)}. Got "
                f"{len(maps) if is_tuple else 'one map'}."
            )
        return maps

    def _read(self, batch: Batch, training: bool) -> Outputs:
        """Returns the student's (logits, feature maps) of the observed clips."""
        logits, maps = self._read_student(batch[OBSERVED], training=training)
        return logits, () if maps is None else maps

    def _student_outputs(self, batch: Batch, training: bool) -> Outputs:
        logits, maps = self._read(batch, training)
        return logits, self._projected(self._compared_maps(maps, training))

    def _compared_maps(self, maps: Maps, training: bool) -> Maps:
        """Returns the student's maps as the feature loss sees them."""
        return maps

    def _projected(self, maps: Maps) -> Maps:
        return [
            feature_map if projection is None else projection(feature_map)
            for feature_map, projection in zip(maps, self.projections, strict=True)
        ]

    def _example_losses(
        self, batch: Batch, targets: Targets, outputs: Outputs
    ) -> ExampleLosses:
        """Returns the divergence and the feature loss (or None), by example."""
        (probabilities, teacher_maps), (logits, maps) = targets, outputs
        labeled = ops.cast(batch[LABELED], "bool")
        label_targets = soft_targets(batch[LABEL], labeled, probabilities)
        divergence = self._label_loss.call((label_targets, labeled), logits)
        if self._feature_loss is None:
            return divergence, None
        if teacher_maps is None:
            raise ValueError(
                f"A feature loss needs {TEACHER_FEATURES!r} beside "
                f"{TEACHER_PROBABILITIES!r}. Got the fields {sorted(batch)}."
            )
        feature_maps.check_unmasked(maps)
        pairs = zip(teacher_maps, maps, strict=True)
        return divergence, sum(self._feature_loss(*pair) for pair in pairs)

    def _loss_terms(
        self, batch: Batch, losses: ExampleLosses, weight: Tensor
    ) -> dict[str, Tensor]:
        """Returns what each kind of target adds to the mean loss, by name."""
        divergence, feature = losses
        labeled = ops.cast(batch[LABELED], "float32")
        terms = {
            "label": ops.mean(labeled * divergence),
            "pseudo_label": ops.mean((1 - labeled) * divergence),
        }
        if feature is not None:
            terms["feature"] = weight * ops.mean(feature)
        return terms

    def _students_own_losses(self) -> Tensor:
        """The sum of what the student's layers add: regularizers, and `add_loss`."""
        return sum(ops.sum(ops.cast(loss, "float32")) for loss in self.losses)

    def _follow(
        self, weight: Tensor, others_norm: Tensor, weighted_norm: Tensor
    ) -> None:
        """Takes the norms of a step's gradients for the map into the averages of λ."""
        if self._auto is None:
            return
        self._auto.update(weight, others_norm, weighted_norm)
        ratio = ops.divide_no_nan(weighted_norm, others_norm)
        for metric, value in zip(self._weights_seen, (weight, ratio), strict=True):
            metric.update_state(value)

    def _update_metrics(
        self,
        batch: Batch,
        targets: Targets,
        outputs: Outputs,
        losses: ExampleLosses,
        loss: Tensor,
    ) -> None:
        (probabilities, _), (logits, _), (divergence, feature) = (
            targets,
            outputs,
            losses,
        )
        label, labeled = batch[LABEL], ops.cast(batch[LABELED], "float32")
        # TensorFlow ranks no logits in half precision.
        logits = ops.cast(logits, "float32")
        # The last batch may be smaller: every example counts the same.
        self._terms["loss"].update_state(loss, ops.shape(labeled)[0])
        self._terms["label_loss"].update_state(divergence, labeled)
        self._terms["pseudo_label_loss"].update_state(divergence, 1 - labeled)
        if feature is not None:
            self._terms["feature_loss"].update_state(feature)
        for score in self._scores:
            score.update_state(label, logits, labeled)
        same = ops.argmax(logits, -1) == ops.argmax(probabilities, -1)
        self._agreement.update_state(ops.cast(same, "float32"))
