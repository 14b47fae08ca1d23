"""Whether a finished training is said to need more steps."""

import numpy as np
import pytest

from train.loop import climbing

_STEPS = np.arange(250, 4001, 250)
_NOISE = 0.01 * np.random.default_rng(0).normal(size=len(_STEPS))


def _history(scores):
    return [
        {"step": int(step), "val_top1": float(score), "loss": 1.0}
        for step, score in zip(_STEPS, scores, strict=True)
    ]


def test_a_curve_that_rises_to_the_end_is_named_with_its_gain():
    scores = 0.2 + 1e-4 * _STEPS
    said = climbing.describe("student_attention", _history(scores), "--student_steps")
    # From step 2,250 to 4,000 at 1e-4 a step.
    assert "student_attention: validation top-1 still rose" in said
    assert "by 17.5 points from step 2250 to 4000" in said
    assert "--student_steps" in said


def test_noise_does_not_hide_the_rise():
    scores = 0.2 + 5e-5 * _STEPS + _NOISE
    assert climbing.describe("teacher", _history(scores), "--teacher_steps")


@pytest.mark.parametrize(
    "scores",
    [
        np.minimum(0.2 + 3e-4 * _STEPS, 0.7),
        0.6 + _NOISE,
        0.7 - 5e-5 * _STEPS,
        0.5 + 2e-6 * _STEPS,
    ],
    ids=["leveled off", "noise", "falls", "rises by half a point"],
)
def test_others_are_not(scores):
    assert climbing.describe("teacher", _history(scores), "--teacher_steps") is None


def test_too_few_validations_say_nothing():
    history = _history(0.2 + 1e-4 * _STEPS)
    assert climbing.describe("teacher", history[:5], "--teacher_steps") is None
    assert climbing.describe("teacher", [{"step": 250, "loss": 1.0}] * 20, "") is None
