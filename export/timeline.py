"""Writes anticipations as they are found: the rows of a CSV, or the list of a JSON."""

import contextlib
import csv
import json
from collections.abc import Iterator
from typing import TextIO

from export.anticipation import Anticipation
from kd_keras.aside import written_aside

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

    def end(self) -> None:
        pass


class JsonTimeline:
    """A JSON list with one object for every time; `happens_s` may be null."""

    def __init__(self, file: TextIO):
        self._file, self._before = file, "[\n"

    def add(self, anticipation: Anticipation) -> None:
        ranked = zip(anticipation.classes, anticipation.probabilities, strict=True)
        item = {
            "time_s": anticipation.time_s,
            "happens_s": anticipation.happens_s,
            "classes": [{"class": name, "probability": p} for name, p in ranked],
        }
        self._file.write(self._before + json.dumps(item, ensure_ascii=False))
        self._before = ",\n"

    def end(self) -> None:
        self._file.write("\n]\n" if self._before[0] == "," else "[]\n")


_KINDS = {".csv": CsvTimeline, ".json": JsonTimeline}
# Of files that can be written.
ENDINGS = tuple(_KINDS)


@contextlib.contextmanager
def written(path: str) -> Iterator[CsvTimeline | JsonTimeline]:
    """A timeline whose file gets its name when it is complete."""
    with (
        written_aside(path) as aside,
        aside.open("w", encoding="utf-8", newline="") as text,
    ):
        timeline = _KINDS[aside.suffix](text)
        yield timeline
        timeline.end()
