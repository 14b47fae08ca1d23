"""Pictures for people: none of them ever ends a run."""

import contextlib

from absl import logging

from train.run_directory import written_aside


@contextlib.contextmanager
def picture(path):
    """Yields where a picture is drawn; one that fails is a warning and ends nothing."""
    try:
        with written_aside(path) as aside:
            yield aside
    except Exception as error:
        logging.warning("%s could not be drawn: %s", path, error)
