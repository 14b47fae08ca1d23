"""Kills preparations at random moments; the rerun has to end with the same bytes.

python -m tests.kill_preparation --kills=10 --kinds=clips,flow,features
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile

from tests import killed_command, small_run

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def kill_and_compare(folder, work, kind, kills, seed=0):
    """Prepares once without and again and again with kills, until so many met work.

    Args:
        folder: Of the data set.
        work: Folder for the outputs.
        kind: As --kind; or "flow", which is clips of flow.
        kills: Number of runs that are killed.
        seed: Of the moments.
    """
    whole, cut = work / f"{kind}_whole", work / f"{kind}_cut"
    if kind == "features":
        _make_teacher(folder, work)
    assert _run(folder, work, kind, whole) == 0
    draws, met = random.Random(seed), 0
    while met < kills:
        # From the start of the work on: the imports before it take seconds.
        status = _run(folder, work, kind, cut, kill_after_s=draws.uniform(0, 1.5))
        # What the kill left aside is hidden, and the next run removes it.
        for path in cut.glob("[!.]*.tfrecord"):
            assert path.read_bytes() == (whole / path.name).read_bytes(), path.name
        if status == 0:
            assert _contents(cut) == _contents(whole)
            shutil.rmtree(cut)
            continue
        assert status == -signal.SIGKILL
        met += 1
    assert _run(folder, work, kind, cut) == 0
    assert _contents(cut) == _contents(whole)


def _run(folder, work, kind, output, kill_after_s=None):
    # Longer work than the data set is worth, so that kills meet it.
    slow = "0.1" if kill_after_s is not None else "0"
    command = [sys.executable, "-m", "tests.slow_preparation", slow]
    command += small_run.arguments(folder, work / "run")
    command += [f"--output={output}", "--shard_records=2"]
    if kind == "flow":
        command += ["--modality=flow", "--flow_method=dis"]
    else:
        command += [f"--kind={kind}"]
    command += ["--views=2", "--jpeg_quality=80"]
    return killed_command.run(command, b"are free", after_s=kill_after_s)


def _make_teacher(folder, work):
    from tests import untrained_run
    from train.experiment import open_experiment

    experiment = open_experiment(small_run.config(folder, work / "run"))
    untrained_run.save_teacher(experiment, work / "run" / "teacher.keras")


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--kinds", default="clips,flow,features")
    arguments = parser.parse_args()
    os.chdir(_ROOT)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        folder = small_run.write_data_set(work / "data")
        for kind in arguments.kinds.split(","):
            kill_and_compare(folder, work, kind, arguments.kills)
            print(
                f"{kind}: {arguments.kills} kills met work; the same bytes", flush=True
            )


if __name__ == "__main__":
    main()
