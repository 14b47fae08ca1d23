"""Text in pictures, whatever its script: fonts that show it, and lines on frames."""

import bisect
import functools
import logging
import math
import os
from collections.abc import Iterable

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

# It comes with matplotlib, and has Latin, Greek, Cyrillic, Arabic and Hebrew letters.
_FIRST = "DejaVu Sans"
# It shows a box instead of each letter, so that nothing seems to be missing.
_BOXES = "Last Resort"
# They have no picture of their own, and join the letters beside them.
_JOINERS = "\u200c\u200d"
_POINTS_PER_INCH = 72
# Of a line's height, what letters take above the base line and below it.
_FONT, _DESCENT = 0.72, 0.3
# Of a line's height, to what `fitted` makes letters smaller.
_SMALLEST = 2 / 3


def families(texts: Iterable[str]) -> list[str]:
    """Returns the fonts of this machine that show some texts, for `font.family`.

    The first that has a letter shows it. Fonts are looked for only if matplotlib's own
    lacks a letter.
    """
    return list(_families(frozenset("".join(texts))))


def readable(text: str) -> str:
    """Returns a text with an escape for each character that no font here can show.

    Invisible characters count among these, except those that join letters.
    """
    known = _covered(frozenset(text))
    return "".join(
        c if c in known else c.encode("unicode_escape").decode() for c in text
    )


def write(frame, text, left, baseline, line_px, color) -> None:
    """Writes a line of text on a frame, in place; what lies outside is cut off.

    Args:
        frame: uint8 (height, width, 3).
        text: In any script; see `readable`.
        left, baseline: Pixels from the left and the upper edge.
        line_px: Height of a line.
        color: Of the letters, as the frame's channels.
    """
    mask = _mask(text, line_px)
    top = baseline - mask.shape[0] + round(_DESCENT * line_px)
    mask = mask[max(-top, 0) :, : max(frame.shape[1] - left, 0)]
    place = frame[max(top, 0) :, left:][: mask.shape[0], : mask.shape[1]]
    share = mask[: place.shape[0], :, None] / 255.0
    place[:] = np.round(place * (1 - share) + np.array(color) * share)


def width_px(text: str, line_px: int) -> int:
    """How wide `write` writes a line of text."""
    return _mask(text, line_px).shape[1]


@functools.lru_cache(maxsize=256)
def fitted(text: str, line_px: int, room_px: int) -> tuple[str, int]:
    """A text and its height of a line that take no more than `room_px` pixels.

    The letters become smaller, down to two thirds. A text that is still too long loses
    its end, for which "…" stands.
    """
    whole_px = width_px(text, line_px)
    if whole_px <= room_px:
        return text, line_px
    line_px = max(line_px * room_px // whole_px, math.ceil(line_px * _SMALLEST), 1)
    # Letters of a size are whole pixels wide, so the estimate may be too large.
    if width_px(text, line_px) <= room_px:
        return text, line_px
    shorter = [f"{text[:kept].rstrip()}…" for kept in range(1, len(text))]
    fitting = bisect.bisect(shorter, room_px, key=lambda cut: width_px(cut, line_px))
    return shorter[fitting - 1] if fitting else "", line_px


@functools.lru_cache(maxsize=256)
def _mask(text, line_px):
    """The letters of a line as uint8 (height, width); 255 is ink."""
    try:
        return _draw(readable(text), line_px)
    except Exception as error:
        # A font may be broken in any way; a frame without its text is still of use.
        logging.getLogger(__name__).warning("%r cannot be drawn: %s", text, error)
        return np.zeros((line_px, 0), np.uint8)


def _draw(text, line_px):
    # The most that letters take; the right edge without ink is cut.
    width = max(round(1.5 * line_px * len(text)), 1)
    height = round((1 + _DESCENT) * line_px)
    size = width / _POINTS_PER_INCH, height / _POINTS_PER_INCH
    figure = Figure(figsize=size, dpi=_POINTS_PER_INCH, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    figure.text(
        0,
        _DESCENT * line_px / height,
        text,
        color="white",
        fontsize=_FONT * line_px,
        family=families([text]),
        verticalalignment="baseline",
        parse_math=False,
    )
    canvas.draw()
    mask = np.asarray(canvas.buffer_rgba())[..., 0]
    inked = np.flatnonzero(mask.any(0))
    return mask[:, : inked[-1] + 1 if len(inked) else 0].copy()


@functools.cache
def _families(characters):
    """Greedily: the font that adds most letters comes next."""
    chosen, missing = [_FIRST], set(_visible(characters)) - _letters_of(_first_file())
    fonts = _fonts() if missing else {}
    while missing and fonts:
        best = max(fonts, key=lambda name: len(missing & fonts[name]))
        if not missing & fonts[best]:
            break
        chosen.append(best)
        missing -= fonts[best]
    if missing:
        logging.getLogger(__name__).warning(
            "No font of this machine shows %s, which pictures write as codes; install "
            "one, such as Noto Sans of that script.",
            " ".join(sorted(missing)),
        )
    return tuple(chosen)


def _covered(characters):
    known = set(_JOINERS) | _letters_of(_first_file())
    names = _families(characters)[1:]
    for name in names:
        known |= _fonts()[name]
    return set(_visible(characters)) & known | (characters & set(_JOINERS))


def _visible(characters):
    return [c for c in characters if c.isprintable()]


@functools.cache
def _fonts():
    """The letters of every upright font of the machine, by family."""
    # matplotlib keeps a list, and does not notice fonts that were installed since.
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - listed):
        try:
            font_manager.fontManager.addfont(path)
        except Exception as error:  # Whatever is wrong with one font of the machine.
            logging.getLogger(__name__).debug("Font %s: %s", path, error)
    letters = {}
    entries = font_manager.fontManager.ttflist
    for entry in sorted(entries, key=lambda e: (abs(_weight(e) - 400), e.fname)):
        if entry.style == "normal" and not entry.name.startswith(_BOXES):
            letters.setdefault(entry.name, _letters_of(entry.fname))
    return {name: known for name, known in letters.items() if known}


def _weight(entry):
    return entry.weight if isinstance(entry.weight, int) else 400


def _first_file():
    path = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    # matplotlib keeps its list in a file of the user, which was seen without this font.
    if path not in {entry.fname for entry in font_manager.fontManager.ttflist}:
        font_manager.fontManager.addfont(path)
    return path


@functools.cache
def _letters_of(path):
    """The characters of a font; none of one that cannot be read or scaled."""
    try:
        font = FT2Font(path)
        font.set_size(12, _POINTS_PER_INCH)
        return frozenset(map(chr, font.get_charmap()))
    except Exception as error:
        logging.getLogger(__name__).debug("Font %s: %s", path, error)
        return frozenset()
