"""Times several ways in turns, so that other load on the machine hits them alike.

The order of each turn is drawn, as a way is slower after some than after others.
"""

import random
import statistics
import time


def median_seconds(ways, repeats, untimed=0):
    """Returns the median seconds of each way; see `all_seconds`."""
    seconds = all_seconds(ways, repeats, untimed)
    return {name: statistics.median(times) for name, times in seconds.items()}


def all_seconds(ways, repeats, untimed=0):
    """Returns the seconds of each turn of each way.

    Args:
        ways: Functions without arguments, by name; each waits for its result.
        repeats: Timed turns, after one that warms up.
        untimed: Calls at the start of each turn that are not timed. A call after
            another way finds caches cold, unlike a step after a step.
    """
    for way in ways.values():
        way()  # Traces, compiles and fills the caches.
    seconds = {name: [] for name in ways}
    draws = random.Random(0)
    for _ in range(repeats):
        for name, way in draws.sample([*ways.items()], len(ways)):
            for _ in range(untimed):
                way()
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds
