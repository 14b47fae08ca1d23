"""Checks that observed clips lie within their videos: a lead time may be too long."""

import math
from collections.abc import Sequence

from kd_keras.data.pairs import SAME_S
from kd_keras.data.segments import Index, Pair

# Fractions of the observed clips that show nothing but their video's first frame.
WARN_FROM = 0.1
STOP_ABOVE = 0.5

_STEP_S = 0.01


def num_unseen(pairs: Sequence[Pair], index: Index) -> int:
    """Returns how many observed clips end before their video's first frame is over."""
    return sum(p.observed.end_s < _begins_s(p, index) + SAME_S for p in pairs)


def longest_lead_time_s(pairs: Sequence[Pair], index: Index) -> float | None:
    """Returns the longest lead time, in 1/100 s, at which few clips are unseen.

    Few are less than `WARN_FROM`. It is None if there is no such time: the actions
    start with their videos.
    """
    rooms_s = sorted(p.future.start_s - _begins_s(p, index) for p in pairs)
    # This one has to be seen.
    room_s = rooms_s[math.ceil(WARN_FROM * len(rooms_s)) - 1]
    steps = math.ceil((room_s - 2 * SAME_S) / _STEP_S) - 1
    return round(steps * _STEP_S, 2) if steps >= 0 else None


def describe(
    part: str, pairs: Sequence[Pair], index: Index, lead_time_s: float
) -> tuple[str | None, bool]:
    """Returns a sentence about the observed clips that show nothing, or None.

    And whether they are so many that training on them makes no sense.

    Args:
        part: Names the pairs.
        pairs: By lead time.
    """
    number = num_unseen(pairs, index)
    if not pairs or number < WARN_FROM * len(pairs):
        return None, False
    longest_s = longest_lead_time_s(pairs, index)
    if longest_s is None:
        fix = (
            "At least a tenth of its actions start with their videos, so that no lead "
            "time leaves these anything to observe: give longer videos, or "
            "--observed_fraction"
        )
    else:
        fix = (
            "The longest lead time at which fewer than a tenth of them do is "
            f"{longest_s:g} s"
        )
    text = (
        f"{number} of {len(pairs)} observed clips of the {part} part lie wholly before "
        f"their video at a lead time of {lead_time_s:g} s, and show its first frame "
        f"alone. {fix}"
    )
    return text, number > STOP_ABOVE * len(pairs)


def _begins_s(pair, index):
    return index.begins_s(pair.observed.video)
