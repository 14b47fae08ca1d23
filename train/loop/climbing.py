"""Says of a finished training whether more steps would have helped."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Validations that a line is drawn through: the second half of all, if so many.
_FEWEST = 4
# What the line has to rise by, as a fraction of right predictions.
_LEAST_GAIN = 0.01
# And by how many standard errors, for it to be no accident.
_ERRORS = 2.0


def describe(
    phase: str, history: Iterable[Mapping[str, Any]], steps_flag: str
) -> str | None:
    """Returns a sentence if validation top-1 still rose at the end, else None.

    A line is fitted to the second half of the validations. With a learning rate that
    decays to 0, curves level off by themselves: one that does not has far to go.

    Args:
        phase: What was trained.
        history: Its lines of metrics in order, with "step" and perhaps "val_top1".
        steps_flag: The flag that says how long it is trained.
    """
    lines = [line for line in history if "val_top1" in line]
    lines = lines[len(lines) // 2 :]
    if len(lines) < _FEWEST:
        return None
    steps = np.array([line["step"] for line in lines], float)
    scores = np.array([line["val_top1"] for line in lines], float)
    centered = steps - steps.mean()
    slope = centered @ scores / (centered @ centered)
    residuals = scores - scores.mean() - slope * centered
    variance = residuals @ residuals / (len(lines) - 2)
    error = np.sqrt(variance / (centered @ centered))
    gain = slope * (steps[-1] - steps[0])
    if gain < _LEAST_GAIN or slope < _ERRORS * error:
        return None
    return (
        f"{phase}: validation top-1 still rose when the training ended, by "
        f"{100 * gain:.1f} points from step {int(steps[0])} to {int(steps[-1])}. A "
        f"larger {steps_flag} may give more."
    )
