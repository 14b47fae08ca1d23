"""Draws anticipations on frames: the ranking as bars, and the lead time."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from export.anticipation import TIME_ERROR_S, Anticipation
from kd_keras import lettering

TEXT_COLOR, BAR_COLOR = (255, 255, 255), (40, 110, 60)


def annotated(
    frames: Iterable[np.ndarray], found: Sequence[Anticipation], rate: float
) -> Iterator[np.ndarray]:
    """Draws on each frame the newest anticipation that was made by its time.

    Args:
        frames: uint8 RGB, not written to.
        rate: Frames per second.
    """
    made_s = np.array([item.time_s for item in found])
    for index, frame in enumerate(frames):
        made = np.searchsorted(made_s, index / rate + TIME_ERROR_S, "right") - 1
        frame = frame.copy()
        draw(frame, found[made] if made >= 0 else None)
        yield frame


def draw(frame: np.ndarray, anticipation: Anticipation | None) -> None:
    """Darkens the lower edge of the frame, in place, and writes the ranking on it."""
    lines, bars = ["observing"], [0.0]
    if anticipation is not None:
        lines, bars = [_headline(anticipation)], [0.0]
        ranked = zip(anticipation.classes, anticipation.probabilities, strict=True)
        for name, probability in ranked:
            lines.append(f"{probability:4.0%} {name}")
            bars.append(probability)
    height, width = frame.shape[:2]
    line_px = max(height // 16, 10)
    top = max(height - line_px * len(lines) - line_px // 3, 0)
    frame[top:] = frame[top:] // 3
    for row, (text, bar) in enumerate(zip(lines, bars, strict=True)):
        below = top + (row + 1) * line_px
        above = below - line_px + line_px // 4
        frame[above : below + line_px // 8, : round(bar * width)] = BAR_COLOR
        lettering.write(frame, text, line_px // 3, below, line_px, TEXT_COLOR)


def _headline(anticipation):
    if anticipation.happens_s is None:
        return "next"
    return f"in {anticipation.happens_s - anticipation.time_s:g} s"
