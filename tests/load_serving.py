"""Sends good and bad requests to a server from many clients at a time.

python -m tests.load_serving --requests=10000

The server is `tests.model_server`, a process of its own. Every good request has to be
answered right, every bad one refused by the right status, and the server's memory may
grow by less than 5 % after its first tenth of requests.
"""

import argparse
import collections
import copy
import dataclasses
import pathlib
import random
import tempfile
import threading
import time

import numpy as np
import simplejpeg

from export import remote_student
from export.served_model import Asked, RefusedError
from tests import model_server, served_colors

_MOST_GROWTH = 0.05
_BAD_SHARE = 0.1


def run(requests, clients):
    with tempfile.TemporaryDirectory() as models:
        served_colors.write(pathlib.Path(models, "name", "1"))
        with model_server.started(models) as (process, addresses):
            # What the first requests allocate stays, as threads and arenas do.
            warm = send(addresses, max(requests // 10, 100), clients, seed=0)
            before = resident_bytes(process.pid)
            begin_s = time.monotonic()
            counts = send(addresses, requests, clients, seed=1)
            seconds = time.monotonic() - begin_s
            growth = resident_bytes(process.pid) / before - 1
    assert sum(counts.values()) == requests
    for kind, count in sorted(counts.items()):
        print(f"{kind}: {count}")
    print(
        f"{requests} requests of {clients} clients in {seconds:.0f} s after "
        f"{sum(warm.values())} others; the server, of {before / 1e6:.0f} MB, grew by "
        f"{growth:.1%}"
    )
    assert growth < _MOST_GROWTH, "The server's memory grew too much."


def send(addresses, requests, clients, seed):
    """Returns how many requests of each kind were answered as they have to be."""
    counts, faults, lock = collections.Counter(), [], threading.Lock()

    def work(number):
        share = requests // clients + (number < requests % clients)
        try:
            address = addresses[number % len(addresses)]
            client = _Client(address, seed * clients + number)
            for _ in range(share):
                kind = client.ask()
                with lock:
                    counts[kind] += 1
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return counts


def resident_bytes(pid):
    """Memory of a process, as Linux tells."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"Process {pid} is gone.")


class _Client:
    """One client, with draws of its own."""

    def __init__(self, address, seed):
        self._protocol = "grpc" if address.startswith("grpc") else "rest"
        self._model = remote_student.connect(Asked(address, "name", timeout_s=60))
        self._random, self._draws = np.random.default_rng(seed), random.Random(seed)

    def ask(self):
        """Sends one request and returns its kind, once the answer is right."""
        if self._draws.random() >= _BAD_SHARE:
            self._ask_well()
            return f"{self._protocol}, answered"
        kind, (status, ask) = self._draws.choice(sorted(self._bad_requests().items()))
        try:
            ask()
        except RefusedError as refused:
            assert refused.status == status, f"{kind}: {refused}"
            return f"{self._protocol}, {kind}, refused by {status}"
        raise AssertionError(f"{kind} was answered.")

    def _ask_well(self):
        colors = self._random.integers(0, 256, (2, 4, 1, 1, 3), np.uint8)
        frames = np.broadcast_to(colors, (2, 4, 18, 18, 3))
        found = self._predict(_encoded(frames))
        right = served_colors.probabilities(frames)
        np.testing.assert_allclose(found["probabilities"], right, atol=0.02)

    def _bad_requests(self):
        """By kind, the status that has to come and what asks for it."""
        good = _encoded(np.zeros((1, 4, 18, 18, 3), np.uint8))
        cut, text = good.copy(), good.copy()
        cut[0, 2] = cut[0, 2][: len(cut[0, 2]) // 2]
        text[0, 1] = b"no picture"
        numbers = np.zeros((1, 4), np.float32)
        # REST reads no input for a signature that there is not.
        unknown = {"grpc": "FAILED_PRECONDITION", "rest": "INVALID_ARGUMENT"}
        by_input = {"cut JPEG": cut, "no JPEG": text, "numbers": numbers}
        return {
            **{
                kind: ("INVALID_ARGUMENT", lambda v=value: self._predict(v))
                for kind, value in by_input.items()
            },
            "no input": ("INVALID_ARGUMENT", lambda: self._predict(None)),
            "unknown signature": (
                unknown[self._protocol],
                lambda: self._predict(good, signature="serve"),
            ),
            "unknown model": ("NOT_FOUND", lambda: self._predict(good, model="other")),
            "unknown version": ("NOT_FOUND", lambda: self._predict(good, version=7)),
        }

    def _predict(self, files, signature="encoded_frames", **changes):
        """Asks past the client's own checks: the server has to notice what is wrong."""
        model = copy.copy(self._model)
        model.asked = dataclasses.replace(model.asked, **changes)
        inputs = {} if files is None else {"encoded_frames": files}
        return model._predict(signature, inputs, ("probabilities",))


def _encoded(frames):
    files = np.empty(frames.shape[:2], dtype=object)
    for place in np.ndindex(files.shape):
        frame = np.ascontiguousarray(frames[place])
        files[place] = simplejpeg.encode_jpeg(frame, 100, "RGB", "444")
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--clients", type=int, default=8)
    arguments = parser.parse_args()
    run(arguments.requests, arguments.clients)


if __name__ == "__main__":
    main()
