"""Work in parallel: how many cores there are, and a progress bar."""

import os
import sys


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
