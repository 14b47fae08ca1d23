"""Files of one JSON value a line, which grow while a run goes on."""

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any


def to_text(values: Iterable[Mapping[str, Any]]) -> str:
    """Returns a line for each value."""
    return "".join(json.dumps(value) + "\n" for value in values)


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the values of the whole lines; none if there is no file.

    A process that ended while it wrote may have left a part of the last line.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
