"""Files of a run that are written at once or not at all."""

import json
import os

from kd_keras.aside import written_aside


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file at once or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: object) -> None:
    """Writes a JSON file at once or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")
