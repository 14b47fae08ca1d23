"""Work in processes of their own: their memory, and clusters of them on this host."""

import concurrent.futures
import json
import multiprocessing
import pathlib
import re
import socket
import sys

_SPAWN = multiprocessing.get_context("spawn")


def in_a_process(function, *arguments):
    """Returns the result of a function that a fresh process calls."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=_SPAWN) as executor:
        return executor.submit(function, *arguments).result()


def in_processes(function, arguments):
    """Returns the results of fresh processes at work together, one per tuple."""
    executor = concurrent.futures.ProcessPoolExecutor(len(arguments), mp_context=_SPAWN)
    with executor:
        results = [executor.submit(function, *each) for each in arguments]
        return [result.result() for result in results]


def memory_bytes(field):
    """Returns this process's VmRSS (resident now) or VmHWM (its peak); NaN off Linux.

    Not getrusage, whose peak a process inherits from its parent.
    """
    if sys.platform != "linux":
        return float("nan")
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+)", status)[1])


def loopback_cluster(count):
    """Returns TF_CONFIG of each of some workers on this host."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        json.dumps(
            {
                "cluster": {"worker": workers},
                "task": {"type": "worker", "index": index},
            }
        )
        for index in range(count)
    ]
