"""Kills runs at random moments; the rerun has to end with the same networks and files.

python -m tests.kill_training --kills=20
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from tests import small_run

_ROOT = pathlib.Path(__file__).resolve().parent.parent

_FLAGS = (
    *small_run.SMALLEST_NETWORK,
    "--deterministic",
    "--optimizer=adamw",
    "--ema=0.5",
    "--teacher_steps=6",
    "--student_steps=9",
    "--students=attention",
    "--validate_every=3",
    "--checkpoint_every_steps=1",
    "--keep=best",
)


def kill_and_compare(folder, work, kills, flags=()):
    """Trains once without and again and again with kills, until so many met a run.

    Args:
        folder: Of the data set.
        work: Folder for the runs.
        kills: Number of runs that are killed.
        flags: More flags of all runs.
    """
    whole, cut = work / "whole", work / "cut"
    begin_s = time.monotonic()
    assert run(folder, whole, *flags, quiet=True) == 0
    longest_s = time.monotonic() - begin_s
    draws, met = random.Random(0), 0
    while met < kills:
        seconds = draws.uniform(0.2, 1.0) * longest_s
        status = run(folder, cut, *flags, kill_after_s=seconds)
        if status == 0:
            _compare(cut, whole)
            shutil.rmtree(cut)
            continue
        assert status == -signal.SIGKILL
        met += 1
        print(f"killed after {seconds:.1f} s: {progress(cut)}", flush=True)
    assert run(folder, cut, *flags) == 0
    _compare(cut, whole)


def _compare(cut, whole):
    for name in ("metrics.jsonl", "results.json"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes()
    for name in ("teacher.keras", "student.keras"):
        for one, other in zip(weights(cut / name), weights(whole / name), strict=True):
            np.testing.assert_array_equal(one, other)


def run(folder, run_dir, *flags, kill_after_s=None, number=signal.SIGKILL, quiet=False):
    """Runs the command; returns its status, the negative signal if one ended it.

    If `quiet`, its errors are warnings of ours, and nothing of TensorFlow.
    """
    command = [sys.executable, "-m", "train.main"]
    command += small_run.arguments(folder, run_dir)
    process = subprocess.Popen(
        [*command, *_FLAGS, *flags],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if kill_after_s is not None:
        threading.Timer(kill_after_s, process.send_signal, [number]).start()
    text, errors = process.communicate()
    if process.returncode > 0:
        print(text, errors)
    if quiet:
        lines = errors.splitlines()
        assert all(line.startswith("Warning: ") for line in lines), errors
    return process.returncode


def progress(run_dir):
    """Says what a run has come to."""
    done = [f"{path.name}" for path in run_dir.glob("*.keras")]
    done += [
        f"{path.parent.name} {path.name}" for path in sorted(run_dir.glob("state/*/*"))
    ]
    return ", ".join(done) or "nothing"


def weights(path):
    """Returns the weights of a network in a file."""
    import keras

    return keras.saving.load_model(path, compile=False).get_weights()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    os.chdir(_ROOT)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        folder = small_run.write_data_set(work / "data")
        for caching in ((), ("--views=2", "--teacher_cache=disk")):
            kill_and_compare(
                folder,
                work / str(len(caching)),
                -(-arguments.kills // 2),
                flags=caching,
            )
    print(f"{arguments.kills} kills met a run; the same networks and files")


if __name__ == "__main__":
    main()
