"""Where the time of a run goes: a line of times.jsonl for each part of it.

A training that was interrupted has several lines, one for each process. Of a part that
is done again as a whole, such as the evaluation, the last time counts.
"""

import dataclasses
import os
import pathlib

from train import json_lines
from train.written import write_text

FILE = "times.jsonl"


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a run, such as a training.

    Attributes:
        name: Of the part; a training has that of its phase.
        seconds: That it took, over all processes.
        waiting: Fraction of them that it waited for data; None if that is not known.
    """

    name: str
    seconds: float
    waiting: float | None


def add(
    path: pathlib.Path,
    part: str,
    seconds: float,
    waiting_s: float | None = None,
    anew: bool = False,
) -> None:
    """Adds a line to a file; the arguments are those of `RunDirectory.record_time`."""
    line = {"part": part, "seconds": round(seconds, 3)}
    if waiting_s is not None:
        line["waiting_s"] = round(waiting_s, 3)
    before = json_lines.read(path)
    if anew:
        before = [line for line in before if line["part"] != part]
    # Not appended: a process that was killed may have left a part of a line.
    write_text(path, json_lines.to_text([*before, line]))


def read(folder: str | os.PathLike) -> list[Part]:
    """Returns the `Part`s of a run in their order; none if it recorded none.

    Args:
        folder: The run directory.
    """
    seconds: dict[str, float] = {}
    waiting_s: dict[str, float] = {}
    for line in json_lines.read(pathlib.Path(folder) / FILE):
        name = line["part"]
        seconds[name] = seconds.get(name, 0.0) + line["seconds"]
        if "waiting_s" in line:
            waiting_s[name] = waiting_s.get(name, 0.0) + line["waiting_s"]
    return [
        Part(name, total, waiting_s[name] / total if name in waiting_s else None)
        for name, total in seconds.items()
    ]
