"""Peak memory of preparing and of training, on ever larger data sets.

`python -m benchmarks.memory` prints the peak resident memory of `train.prepare`, and of
`train.main` for a fixed number of steps: from videos that are decoded anew each time
(--cache=off), and from records. It is to stay as the data set grows. One generated
recording stands under all names, and the evaluated videos are always the same few. Each
run is a process of its own. On Linux only.
"""

import contextlib
import csv
import importlib
import io
import os
import pathlib
import statistics
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks import processes
from kd_keras.data.video.reading import write_video

_SIZES = flags.DEFINE_list("sizes", ["32", "128", "512"], "Numbers of videos.")
_STEPS = flags.DEFINE_integer("steps", 10, "Of teacher and student.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 1, "Turns of each.", lower_bound=1)

# Whole batches of them.
_EVALUATED = 8
_FRAME_RATE, _VIDEO_S = 10, 12
# Starts of a video's actions, each of 2 s.
_STARTS_S = (3, 6, 9)

_PREPARE, _VIDEOS, _RECORDS = "train.prepare", "from videos", "from records"


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    if sys.platform != "linux":
        raise app.UsageError("Memory is read from /proc, which Linux alone has.")
    sizes = [int(size) for size in _SIZES.value]
    peaks = {
        (name, size): [] for name in (_PREPARE, _VIDEOS, _RECORDS) for size in sizes
    }
    for _ in range(_REPEATS.value):
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                for name, peak in _peaks_mib(pathlib.Path(folder), size):
                    peaks[name, size].append(peak)
    print(f"peak MiB by number of videos, {len(_STARTS_S)} labeled pairs in each")
    print(f"{'':14}" + "".join(f"{size:>8}" for size in sizes) + f"{'growth':>9}")
    for name in (_PREPARE, _VIDEOS, _RECORDS):
        medians = [statistics.median(peaks[name, size]) for size in sizes]
        row = "".join(f"{median:8.0f}" for median in medians)
        print(f"{name:14}{row}{medians[-1] / medians[0]:9.2f}")


def _peaks_mib(folder, size):
    """Yields the name and the peak of each command on so many videos."""
    annotations = _write_data_set(folder, size)
    data = [
        f"--annotations={annotations}",
        f"--video_root={folder}",
        "--num_frames=9",
        "--image_size=64",
        # Every network takes what it takes, and this one is soon built.
        "--backbone=tsn_small",
        "--segments=2",
        "--nounlabeled_gaps",
        "--cache=off",
    ]
    records = folder / "records"
    yield _PREPARE, _peak_mib("train.prepare", *data, f"--output={records}")
    training = [
        f"--teacher_steps={_STEPS.value}",
        f"--student_steps={_STEPS.value}",
        "--batch_size=8",
        "--feature_weight=0.1",
        "--noexport",
    ]
    for name, more in ((_VIDEOS, []), (_RECORDS, [f"--records={records}"])):
        run_dir = f"--run_dir={folder / name}"
        yield name, _peak_mib("train.main", *data, *more, *training, run_dir)


def _write_data_set(folder, size):
    """So many names of one recording, some of them for evaluation; a CSV of them."""
    draws = np.random.default_rng(0)
    noise = draws.integers(0, 256, (2 * _FRAME_RATE, 96, 128, 3), np.uint8)
    recording = folder / "recording.mp4"
    write_video(recording, np.tile(noise, (_VIDEO_S // 2, 1, 1, 1)), _FRAME_RATE)
    annotations = folder / "annotations.csv"
    with annotations.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "start", "end", "label", "split"])
        for number in range(size):
            name = f"video{number:06d}.mp4"
            os.link(recording, folder / name)
            part = "val" if number < _EVALUATED else "train"
            for start_s in _STARTS_S:
                writer.writerow([name, start_s, start_s + 2, f"at_{start_s}", part])
    return annotations


def _peak_mib(command, *arguments):
    return processes.in_a_process(_peak_mib_here, command, arguments)


def _peak_mib_here(command, arguments):
    module = importlib.import_module(command)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            app.run(module.main, [command, *arguments])
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{command} failed.") from end
    return processes.memory_bytes("VmHWM") / 2**20


if __name__ == "__main__":
    app.run(main)
