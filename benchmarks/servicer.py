"""Requests over gRPC beside the bare Session that answers them, for eight clients.

`python -m benchmarks.servicer` exports I3D of width 0.25 for clips of 16 frames of 64
pixels. Eight threads at a time ask for requests of 16 JPEGs of 160 x 120 pixels: those
of a server process, `tests.model_server`, over gRPC, and those of a Session of this
process. The answers are the same. Each turn is as many requests of each way.
"""

import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import simplejpeg
from absl import app, flags

from benchmarks import turns
from benchmarks.served_i3d import served_i3d
from export import remote_student, saved_model
from export.served_model import Asked
from tests.session_models import SessionModels

_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed turns of each.", lower_bound=1)

_CLIENTS, _REQUESTS, _FRAMES = 8, 64, 16
_SIGNATURE, _OUTPUTS = "encoded_frames", ("probabilities",)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    student = served_i3d(_FRAMES, 64, width=0.25)
    inputs = {_SIGNATURE: _files()}
    with tempfile.TemporaryDirectory() as models:
        saved_model.export_student(student.model, f"{models}/name", student.spec)
        session = SessionModels({"name": pathlib.Path(models, "name")})
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.model_server", f"--models={models}"],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            address = server.stdout.readline().split()[0]
            client = remote_student.connect(Asked(address, "name", timeout_s=60))
            chosen = ("name", None, None)
            ways = {
                "over gRPC": lambda: client.predict(_SIGNATURE, inputs, _OUTPUTS),
                "a bare Session": lambda: session.predict(
                    chosen, _SIGNATURE, inputs, _OUTPUTS
                ),
            }
            answers = [way()["probabilities"] for way in ways.values()]
            np.testing.assert_allclose(*answers, rtol=1e-5)
            with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as executor:
                seconds = turns.median_seconds(
                    {name: _many(executor, way) for name, way in ways.items()},
                    _REPEATS.value,
                )
        finally:
            server.stdin.close()
            server.wait(timeout=60)
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
