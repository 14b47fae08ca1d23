"""Scores finished runs of the demo on a thousand clips that none of them has seen.

python -m docs.score_demo runs/seed-0 runs/seed-1 ...

The clips come from other generated videos, with the camera drift of the first run. Runs
have the flags of configs/demo.flags and may differ in --seed. A line is one network,
its top-1 in each run, and the mean. A student also has its gain over each student above
it, with the 95 % bootstrap interval over runs and videos.
"""

import pathlib
import sys
import tempfile

import keras
import numpy as np
from absl import flags

from kd_keras.data.batches.fields import FUTURE, OBSERVED
from kd_keras.data.scenes.write import write_scenes
from kd_keras.statistics import mean_interval
from train import experiment
from train.flags import config as config_lib
from train.flags.learning import METHODS
from train.table.files import range_text

_VIDEOS, _SEED = 200, 8  # Five clips each; no run of the documentation has this seed.


def main(runs):
    first = config_lib.from_flagfile(pathlib.Path(runs[0]) / "run.flags")
    students = [s for s in METHODS if s in first.distillation.students]
    with tempfile.TemporaryDirectory() as folder:
        drift = first.data.demo_camera_drift
        evaluator, videos = _clips(pathlib.Path(folder), drift)
        rows = {"teacher": _hits(evaluator, runs, "teacher.keras", FUTURE)}
        for name in students:
            rows[name] = _hits(evaluator, runs, f"students/{name}.keras", OBSERVED)
    above = {}
    for name, hits in rows.items():
        cells = " ".join(f"{value:5.1f}" for value in 100 * hits.mean(1))
        print(f"{name:14} {cells}  mean {100 * hits.mean():.1f}")
        for other, fewer in above.items():
            gain = mean_interval(100 * (hits - fewer), videos)
            print(f"  over {other}: {gain.mean:+.1f} ({range_text(gain)})")
        if name in students:
            above[name] = hits


def _clips(folder, camera_drift):
    """Returns the evaluator of all clips of new videos, and the video of each clip."""
    table = write_scenes(
        folder / "scenes",
        _VIDEOS,
        labeled_fraction=1.0,
        seed=_SEED,
        camera_drift=camera_drift,
    )
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(
        [
            "train.main",
            "--flagfile=configs/demo.flags",
            "--dataset=csv",
            f"--annotations={table}",
            f"--video_root={table.parent}",
            f"--run_dir={folder / 'run'}",
        ]
    )
    opened = experiment.open_experiment(config_lib.from_flags(values))
    pairs = [*opened.data.labeled, *opened.data.evaluated]
    videos = [pair.observed.video for pair in pairs]
    return opened.evaluator.over(pairs), videos


def _hits(evaluator, runs, file, field):
    """Returns whether a network of each run is right, (runs, clips)."""
    hits = []
    for run in runs:
        network = keras.saving.load_model(pathlib.Path(run) / file, compile=False)
        labels, logits = evaluator.logits(evaluator.predictor(network), field)
        hits.append(logits.mean(1).argmax(-1) == labels)
    return np.array(hits, np.float64)


if __name__ == "__main__":
    main(sys.argv[1:])
