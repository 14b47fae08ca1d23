"""Kills exports at random moments, while a poller loads whatever version appears.

python -m tests.kill_exports --kills=20

Every other one is told to end (SIGTERM) and must leave nothing but versions.
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from tests import killed_command

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def kill_and_poll(work, kills, seed=0):
    """Exports until so many were killed at work; raises at the first wrong version.

    Args:
        work: Folder for the student and the served model.
        kills: Number of exports that are killed.
        seed: Of the moments.
    """
    student, output = work / "student.keras", work / "models"
    _save_student(student)
    started = time.monotonic()
    assert _export(student, output) == 0
    # Longer than what follows the first line of an export; what is drawn then comes
    # close to that.
    longest_s = duration_s = time.monotonic() - started
    poller = subprocess.Popen(
        [sys.executable, "-m", "tests.kill_exports", f"--poll={output}"], cwd=_ROOT
    )
    draws, met, finished = random.Random(seed), 0, 1
    try:
        while met < kills:
            kind = (signal.SIGKILL, signal.SIGTERM)[met % 2]
            aside, before = _names_aside(output), _versions(output)
            kill_after_s = draws.uniform(0, longest_s)
            status = _export(student, output, kind, kill_after_s)
            if status == 0:
                finished += 1
                longest_s = (longest_s + kill_after_s) / 2
                continue
            met += 1
            longest_s *= 1.01
            print(f"kill {met} of {kills} after {kill_after_s:.1f} s", flush=True)
            if kind == signal.SIGTERM:
                # Python hears no signal while it ends, when the version has its name.
                assert status == 1 or _versions(output) - before, status
                assert _names_aside(output) == aside
            assert poller.poll() is None, "The poller failed to load a version."
        # Time for what appeared last.
        time.sleep(duration_s)
        assert poller.poll() is None, "The poller failed to load a version."
    finally:
        poller.kill()
        poller.wait()
    return finished


def poll(output):
    """Loads each version once, as soon as it is there, and asks every signature."""
    import tensorflow as tf

    from export import warm_up

    loaded = set()
    while True:
        names = _versions(output) - loaded
        for name in sorted(names):
            path = f"{output}/{name}"
            requests = list(warm_up.read(f"{path}/{warm_up.WARM_UP_FILE}"))
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
                for signature, inputs in requests:
                    about = graph.signature_def[signature]
                    session.run(
                        [info.name for info in about.outputs.values()],
                        {about.inputs[key].name: inputs[key] for key in inputs},
                    )
            print(f"version {name} answers", flush=True)
        loaded |= names
        time.sleep(0.01)


def _versions(output):
    return {name for name in os.listdir(output) if name.isdigit()}


def _names_aside(output):
    return {name for name in os.listdir(output) if name.startswith(".")}


def _save_student(path):
    import keras

    from export.student_file import ExportSpec, save_student
    from kd_keras.data.clips.format import ClipFormat

    clip = keras.Input((8, 16, 16, 3))
    x = keras.layers.Conv3D(64, 3, strides=4, activation="relu")(clip)
    x = keras.layers.GlobalAveragePooling3D()(x)
    model = keras.Model(clip, keras.layers.Dense(2)(x))
    save_student(model, path, ExportSpec(("open", "shut"), ClipFormat(8, 16)))


def _export(student, output, kind=None, kill_after_s=None):
    command = [sys.executable, "-m", "export.main", f"--student={student}"]
    command += [f"--output={output}", "--keep_versions=50"]
    return killed_command.run(command, b"Writing", kind, kill_after_s)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--poll", help="what this program starts itself with")
    arguments = parser.parse_args()
    if arguments.poll:
        poll(arguments.poll)
    with tempfile.TemporaryDirectory() as work:
        finished = kill_and_poll(pathlib.Path(work), arguments.kills)
    print(f"{arguments.kills} kills, {finished} exports finished; every version loaded")


if __name__ == "__main__":
    main()
