"""Stops a training that has gone wrong, and warns of one that is about to."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from kd_keras.data.segments import Pair
from train.flags.learning import LABELS_ALONE

# A loss this many times its first value explodes.
_EXPLODES = 1e4
# If one gradient is this many times another, the smaller one has no effect.
_FARTHEST = 100.0
# Networks from random weights did worse than linear classifiers on fewer clips.
FEW_CLIPS = 600


class DivergedError(RuntimeError):
    """The loss is no longer a number, or grows without bound."""


def stop_if_diverged(
    phase: str,
    step: int,
    terms: Mapping[str, float],
    first_loss: float,
    clips: Callable[[], str],
) -> None:
    """Stops a training whose loss is not finite or explodes.

    Args:
        phase: What is trained.
        step: The step that gave the terms.
        terms: Terms of the loss by name, "loss" their sum.
        first_loss: The loss of the phase's first step.
        clips: Function without arguments that names the clips of the batch.
    Raises:
        DivergedError: With the step, the terms and the clips.
    """
    finite = all(math.isfinite(value) for value in terms.values())
    if finite and terms["loss"] <= _EXPLODES * max(first_loss, 1e-3):
        return
    shown = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    what = f"explodes (it was {first_loss:g})" if finite else "is not a finite number"
    raise DivergedError(
        f"{phase}: the loss {what} at step {step}: {shown}. The batch: {clips()}. The "
        "last checkpoint is kept. Look at these clips, or lower the learning rate or "
        "the feature weight, or give --clip_norm."
    )


def describe(pairs: Sequence[Pair], indices: Iterable[int]) -> str:
    """Names the clips of a batch: videos, seconds and labels."""
    named = []
    for pair in (pairs[int(index)] for index in indices):
        observed, future = pair.observed, pair.future
        label = "unlabeled" if pair.label is None else f"class {pair.label}"
        named.append(
            f"{observed.video} {observed.start_s:.2f}-{observed.end_s:.2f} s and "
            f"{future.start_s:.2f}-{future.end_s:.2f} s, {label}"
        )
    return "; ".join(named)


def warn_of_gradients(
    phase: str, step: int, norms: Mapping[str, float], weight_moves: bool = False
) -> None:
    """Warns if the feature loss dominates the other terms, or has hardly any effect.

    Args:
        norms: Norm of the gradient by term; 0 if a batch has no such term.
        weight_moves: Whether λ goes up from 0 or down to 0. The feature loss is then
            meant to have hardly any effect for a while.
    """
    feature = norms.get("feature", 0.0)
    others = max((norm for name, norm in norms.items() if name != "feature"), default=0)
    if not feature or not others:
        return
    ratio = feature / others
    if weight_moves and ratio < 1:
        return
    if not 1 / _FARTHEST <= ratio <= _FARTHEST:
        change = "Lower" if ratio > 1 else "Raise"
        warn(
            f"{phase}, step {step}: the gradient of the feature loss is {ratio:.2g} "
            "times as large as the gradient of labels and pseudo-labels. "
            f"{change} --feature_weight, or --feature_gradient_ratio if it is auto."
        )


def warn_of_teacher(top1: float, majority: float, where: str) -> None:
    """Warns if the teacher is worse than always predicting the most frequent class.

    Args:
        top1: Accuracy of the teacher on future clips.
        majority: Accuracy of the most frequent class on the same clips.
        where: What the message calls these clips.
    """
    if top1 < majority:
        warn(
            f"The teacher is right for {100 * top1:.1f} % of the {where} and the most "
            f"frequent class for {100 * majority:.1f} %: its predictions and maps will "
            "mislead the students. Train it longer, or with another rate."
        )


def warn_of_lead(teacher: float, students: Mapping[str, float]) -> None:
    """Warns if a student from labels alone is as good as the teacher.

    Pseudo-labels of such a teacher may cost more than they bring (docs/results.md).

    Args:
        teacher: Accuracy of the teacher on future clips.
        students: Accuracy of each student on the observed clips, by method.
    """
    alone = {name: top1 for name, top1 in students.items() if name in LABELS_ALONE}
    best = max(alone, key=alone.__getitem__, default=None)
    if best is not None and teacher <= alone[best]:
        warn(
            f"The teacher is right for {100 * teacher:.1f} % of the future clips, and "
            f"the student {best} for {100 * alone[best]:.1f} % of the observed ones: "
            "such a teacher has little to teach. Train it longer, start it from "
            "--weights, or give it more labels."
        )


def warn_of_few_clips(num_labeled: int) -> None:
    """Warns if there are few clips for a network that starts from random weights."""
    if num_labeled < FEW_CLIPS:
        warn(
            f"{num_labeled} labeled training clips are few for a network that starts "
            "from random weights. From ImageNet weights it needs fewer: try "
            "--backbone=tsm_lite --weights=imagenet, as in 'A small data set' of "
            "docs/training.md."
        )


def check_labels(pairs: Iterable[Pair], num_classes: int) -> None:
    """Raises if a label has no output in the head.

    Raises:
        ValueError: Names the first such label.
    """
    for pair in pairs:
        if pair.label is not None and not 0 <= pair.label < num_classes:
            raise ValueError(
                f"{pair.observed.video} has the label {pair.label}, and the networks "
                f"know the {num_classes} classes 0 to {num_classes - 1}."
            )


def warn(text: str) -> None:
    """Prints a warning."""
    print(f"Warning: {text}", file=sys.stderr, flush=True)
