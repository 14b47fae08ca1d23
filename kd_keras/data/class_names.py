"""Names of classes: which of them mean the same, and what cannot be seen in them."""

import collections
import re
import unicodedata
from collections.abc import Iterable

# What programs write for an empty cell (pandas' own list among it), in lower case.
_EMPTY_CELLS = frozenset(
    {"nan", "-nan", "#na", "#n/a", "n/a", "na", "<na>", "nat", "nil", "none", "null"}
)
# Characters that take no ink although Unicode does not call them format characters:
# fillers, joiners, variation selectors and the blank of Braille.
_WITHOUT_INK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0000-\U000e0fff]"
)


def class_name(text: str) -> str:
    """Returns the name that a text stands for: "é" has two encodings that look alike.

    Blanks around it do not count.
    """
    return unicodedata.normalize("NFC", text.strip())


def visible(name: str) -> str:
    """Returns a name in quotes, with an escape for what one cannot see in it.

    These are invisible characters, blanks beside the usual one, every second blank of a
    run, and characters that have a plainer encoding.
    """
    plain = unicodedata.is_normalized("NFKC", name)
    shown = []
    for before, character in zip(" " + name, name + " ", strict=True):
        hidden = not character.isprintable() or _WITHOUT_INK.match(character)
        if not plain:
            hidden = hidden or _has_plainer_encoding(character)
        if character == before == " ":
            shown.append(r"\x20")
        elif hidden:
            shown.append(character.encode("unicode_escape").decode())
        else:
            shown.append(character)
    return f"'{''.join(shown[:-1])}'"


def alike(names: Iterable[str]) -> list[list[str]]:
    """Returns the groups of names that differ by nothing that a reader would mean.

    That is by case, blanks, Unicode normalization or invisible characters.
    """
    groups = collections.defaultdict(list)
    for name in dict.fromkeys(names):
        groups[_meaning(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def is_empty_cell(name: str) -> bool:
    """Returns whether a name looks like what a program writes for an empty cell."""
    meaning = _meaning(name)
    return not meaning or meaning in _EMPTY_CELLS


def _has_plainer_encoding(character):
    is_mark = unicodedata.category(character).startswith("M")
    return is_mark or not unicodedata.is_normalized("NFKC", character)


def _meaning(name):
    folded = unicodedata.normalize("NFKC", name).casefold()
    inked = "".join(c for c in _WITHOUT_INK.sub("", folded) if not _is_format(c))
    return " ".join(unicodedata.normalize("NFKC", inked).split())


def _is_format(character):
    """Zero-width and bidirectional marks, soft hyphens, control characters."""
    category = unicodedata.category(character)
    return category in ("Cf", "Cc") and not character.isspace()
