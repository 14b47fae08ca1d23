"""Checks labels: spellings of one name, empty cells, intervals with two labels."""

import collections
from collections.abc import Iterable

from kd_keras.data import class_names
from kd_keras.data.pairs import SAME_S
from kd_keras.data.segments import REPEATED_ROWS, Index, Segment


def contradictions(segments: Iterable[Segment]) -> list[str]:
    """Returns a sentence for each interval of a video that has two different labels."""
    return [
        f"lines {_and(rows.values())}: {video!r} from {start_s:g} to {end_s:g} s is "
        f"{_and(map(class_names.visible, rows))}; keep the right one"
        for (video, start_s, end_s), rows in _rows_by_interval(segments).items()
        if len(rows) > 1
    ]


def remarks(index: Index) -> list[str]:
    """Returns a sentence for what may be meant, and mostly is not."""
    counts = collections.Counter(s.label for s in index.segments)
    return [
        *(
            f"{len(names)} classes may be one, as their names differ only by case, "
            "blanks or what cannot be seen: "
            + ", ".join(_counted(name, counts[name]) for name in names)
            for names in class_names.alike(index.classes)
        ),
        *(
            f"class {_counted(name, counts[name])} looks like an empty cell that a "
            "program wrote as text; leave the cell empty if there is no label"
            for name in index.classes
            if class_names.is_empty_cell(name)
        ),
        *_repeated(index),
    ]


def _repeated(index):
    rows = collections.Counter(
        (s.video, s.start_s, s.end_s, s.label) for s in index.segments
    )
    repeats = {row: count - 1 for row, count in rows.items() if count > 1}
    if repeats:
        (video, start_s, end_s, label), _ = next(iter(repeats.items()))
        yield (
            f"{sum(repeats.values())} rows repeat another row; the first is {video!r} "
            f"from {start_s:g} to {end_s:g} s, {label!r}"
        )
    if REPEATED_ROWS in index.dropped:
        number = index.dropped[REPEATED_ROWS]
        yield f"{number} rows repeat another row; they are dropped"


def _rows_by_interval(segments):
    """The row of each label, by interval; times that round alike are the same."""
    found = collections.defaultdict(dict)
    for segment in segments:
        if segment.label is not None:
            times_s = (
                round(time_s / SAME_S) * SAME_S
                for time_s in (segment.start_s, segment.end_s)
            )
            found[(segment.video, *times_s)].setdefault(segment.label, segment.uid)
    return found


def _counted(name, count):
    return f"{class_names.visible(name)} ({count} segment{'s' * (count != 1)})"


def _and(values):
    *first, last = values
    return f"{', '.join(first)} and {last}"
