"""Times several ways in turns, so that other load on the machine hits them alike."""

import statistics
import time


def median_seconds(ways, repeats):
    """Returns the median seconds of each way.

    Args:
        ways: Functions without arguments, by name; each waits for its result.
        repeats: Timed turns, after one that warms up.
    """
    for way in ways.values():
        way()  # Traces, compiles and fills the caches.
    seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
