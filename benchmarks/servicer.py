"""Requests over gRPC beside the bare Session that answers them, for eight clients.

`python -m benchmarks.servicer` exports I3D of width 0.25 for clips of 16 frames of 64
pixels. A request has 16 JPEGs of 160 x 120 pixels. Eight threads at a time ask a server
over gRPC, which is a process of its own (`tests.model_server`). In turns they ask a
Session in their own process. Both give the same answers.
"""

import concurrent.futures
import tempfile

import numpy as np
import simplejpeg
from absl import app, flags

from benchmarks import turns
from benchmarks.served_i3d import served_i3d, session_of
from export import remote_student, saved_model
from export.served_model import Asked
from tests import model_server

_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed turns of each.", lower_bound=1)

_CLIENTS, _REQUESTS, _FRAMES = 8, 64, 16


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    student = served_i3d(_FRAMES, 64, width=0.25)
    files = _files()
    with tempfile.TemporaryDirectory() as models:
        version = saved_model.export_student(
            student.model, f"{models}/name", student.spec
        )
        with model_server.started(models) as (_, addresses):
            session = session_of(version, "encoded_frames")
            client = remote_student.connect(Asked(addresses[0], "name", timeout_s=60))
            ways = {
                "over gRPC": lambda: client.predict(
                    "encoded_frames", {"encoded_frames": files}, ("probabilities",)
                )["probabilities"],
                "a bare Session": lambda: session(files),
            }
            np.testing.assert_allclose(*(way() for way in ways.values()), rtol=1e-5)
            with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as executor:
                seconds = turns.median_seconds(
                    {name: _many(executor, way) for name, way in ways.items()},
                    _REPEATS.value,
                )
    for name, median in seconds.items():
        print(f"{name:16}{_REQUESTS / median:8.1f} requests a second", flush=True)


def _files():
    noise = np.random.default_rng(0).integers(0, 256, (_FRAMES, 120, 160, 3), np.uint8)
    files = np.empty((1, _FRAMES), dtype=object)
    for number, frame in enumerate(noise):
        files[0, number] = simplejpeg.encode_jpeg(frame, 95)
    return files


def _many(executor, ask):
    return lambda: list(executor.map(lambda _: ask(), range(_REQUESTS)))


if __name__ == "__main__":
    app.run(main)
