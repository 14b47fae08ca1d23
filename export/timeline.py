"""Writes anticipations as the rows of a CSV, as soon as each is known."""

import csv
from typing import TextIO

from export.anticipation import Anticipation

_COLUMNS = ("time_s", "happens_s", "rank", "class", "probability")


class CsvTimeline:
    """A CSV with one row for every class that is ranked at a time."""

    def __init__(self, file: TextIO):
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow(_COLUMNS)

    def add(self, anticipation: Anticipation) -> None:
        happens_s = anticipation.happens_s
        start = (
            f"{anticipation.time_s:.3f}",
            "" if happens_s is None else f"{happens_s:.3f}",
        )
        ranked = zip(anticipation.classes, anticipation.probabilities, strict=True)
        for rank, (name, probability) in enumerate(ranked, start=1):
            self._rows.writerow((*start, rank, name, f"{probability:.4f}"))
        self._file.flush()
