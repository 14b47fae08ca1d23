"""Draws anticipations on frames: the ranking as bars, and the lead time."""

import math
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from export.anticipation import TIME_ERROR_S, Anticipation
from kd_keras import lettering

TEXT_COLOR, BAR_COLOR = (255, 255, 255), (40, 110, 60)

# Smaller frames are enlarged, because letters of fewer pixels cannot be read.
_LEAST_SIDE_PX = 360
# Of the shorter side, what a line takes.
_LINE = 1 / 16


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
        yield drawn(frame, found[made] if made >= 0 else None)


def drawn(frame: np.ndarray, anticipation: Anticipation | None) -> np.ndarray:
    """A copy of the frame with the ranking on its lower edge, which is darkened.

    A frame with a side of less than 360 pixels is enlarged by a whole number. A name
    that is too long for the frame is written smaller, and ends in "…" if that is not
    enough.
    """
    frame = _enlarged(frame)
    headline, ranked = "observing", []
    if anticipation is not None:
        headline = _headline(anticipation)
        ranked = zip(anticipation.probabilities, anticipation.classes, strict=True)
    rows = [(headline, "", 0.0)]
    rows += [(f"{probability:.0%}", name, probability) for probability, name in ranked]
    height, width = frame.shape[:2]
    # A third of a line is left below the last one.
    line_px = min(round(min(height, width) * _LINE), 3 * height // (3 * len(rows) + 1))
    top = height - line_px * len(rows) - math.ceil(line_px / 3)
    frame[top:] = frame[top:] // 3
    for row, (number, name, bar) in enumerate(rows):
        below = top + (row + 1) * line_px
        above = below - line_px + line_px // 4
        frame[above : below + line_px // 8, : round(bar * width)] = BAR_COLOR
        _write_row(frame, number, name, below, line_px)
    return frame


def _write_row(frame, number, name, below, line_px):
    margin = line_px // 3
    if not name:
        lettering.write(frame, number, margin, below, line_px, TEXT_COLOR)
        return
    # The numbers end below each other.
    right = margin + lettering.width_px("100%", line_px)
    left = right - lettering.width_px(number, line_px)
    lettering.write(frame, number, left, below, line_px, TEXT_COLOR)
    left = right + margin
    room_px = frame.shape[1] - left - margin
    name, line_px = lettering.fitted(name, line_px, room_px)
    lettering.write(frame, name, left, below, line_px, TEXT_COLOR)


def _enlarged(frame):
    factor = -(-_LEAST_SIDE_PX // min(frame.shape[:2]))
    if factor <= 1:
        return frame.copy()
    return cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def _headline(anticipation):
    if anticipation.happens_s is None:
        return "next"
    return f"in {anticipation.happens_s - anticipation.time_s:g} s"
