"""The progress bar of work that takes a known number of pieces."""

import sys


def progress_bar(total: int, unit: str, shows: bool = True):
    """Returns a `keras.utils.Progbar` with the time that is left.

    Args:
        total: Pieces of work; `add(1)` counts one.
        unit: What a piece is, such as "clip".
        shows: False prints nothing.
    """
    import keras

    # A log file gets a line now and then, a terminal a line that moves.
    return keras.utils.Progbar(
        total,
        verbose=1 if shows else 0,
        interval=0.5 if sys.stdout.isatty() else 20.0,
        unit_name=unit,
    )
