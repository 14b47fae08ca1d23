"""Runs on a store, in one process: TensorFlow is imported once, and aborts no test.

python -m tests.remote_training DATA WORK s3://bucket/runs
"""

import pathlib
import shutil
import signal
import sys
import tempfile

from kd_keras.data import remote
from tests import small_run
from train import remote_run
from train.loop.interruption import Interrupted
from train.run import run_experiment

_FLAGS = (
    *small_run.SMALLEST_NETWORK,
    "--deterministic",
    "--students=labels",
    "--validate_every=2",
    "--checkpoint_every_steps=1",
)


def main(data, work, url):
    data, work = pathlib.Path(data), pathlib.Path(work)
    tempfile.tempdir = str(work)

    def run(run_dir, *more):
        config = small_run.config(data, run_dir, *_FLAGS, *more)
        with remote_run.working_copy(config) as (local, store):
            return run_experiment(local, store)

    def forget():
        for folder in work.glob("kd_keras-runs-*"):
            shutil.rmtree(folder)

    expected = run(work / "local")
    # Six steps: the signal comes after the second one of the student.
    push, steps = remote_run.RemoteRun.push, []

    def then_signal(store):
        push(store)
        steps.append(store)
        if len(steps) == 4:
            signal.raise_signal(signal.SIGTERM)

    remote_run.RemoteRun.push = then_signal
    try:
        run(f"{url}/x")
    except Interrupted as stopped:
        print(stopped.message)
    remote_run.RemoteRun.push = push
    forget()
    assert run(f"{url}/x") == expected
    forget()
    assert run(f"{url}/x", "--task=evaluate") == expected
    for place, *more in ((f"{url}/x", "--seed=7"), ("s3://missing/x",)):
        try:
            run(place, *more)
        except (OSError, ValueError) as error:
            print(error)
    with remote_run.fetched(f"{url}/x") as (folder,):
        print(sorted(path.name for path in pathlib.Path(folder).iterdir()))


if __name__ == "__main__":
    main(*sys.argv[1:])
    remote.end_process(0)
