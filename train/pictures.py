"""Draws pictures. A picture that fails never ends a run."""

import contextlib
import pathlib
from collections.abc import Iterator

from absl import logging

from kd_keras.aside import written_aside


@contextlib.contextmanager
def picture(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Context manager: yields the path to draw to; an error becomes a warning."""
    try:
        with written_aside(path) as aside:
            yield aside
    except Exception as error:
        logging.warning("%s could not be drawn: %s", path, error)
