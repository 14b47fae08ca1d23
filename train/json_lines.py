"""Files of one JSON value a line, which grow while a run goes on."""

import json


def to_text(values):
    """Returns a line for each value."""
    return "".join(json.dumps(value) + "\n" for value in values)


def read(path):
    """Returns the values of the whole lines; none if there is no file.

    A process that ended while it wrote may have left a part of the last line.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]
