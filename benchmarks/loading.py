"""Loading an export beside a plain export of Keras: time and memory.

`python -m benchmarks.loading` exports I3D with 400 classes for clips of 16 frames of
112 pixels, as `export.main` and as Keras's `model.export` write it. It prints the size
of the folder, the median time to load it, and the memory that a process then has more
than with TensorFlow alone, before and after a first answer. Each load is a process of
its own; they take turns. On Linux only.
"""

import pathlib
import statistics
import sys
import tempfile
import time

from absl import app, flags

from benchmarks import processes

_REPEATS = flags.DEFINE_integer("repeats", 5, "Turns of each.", lower_bound=1)
_SHAPE = (16, 112, 112, 3)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    if sys.platform != "linux":
        raise app.UsageError("Memory is read from /proc, which Linux alone has.")
    with tempfile.TemporaryDirectory() as folder:
        folders = processes.in_a_process(_write, folder)
        found = {name: [] for name in folders}
        for _ in range(_REPEATS.value):
            for name, (path, signature) in folders.items():
                found[name].append(processes.in_a_process(_load, path, signature))
        print(f"{'':20}{'MB':>6}{'load s':>8}{'loaded MB':>11}{'answered MB':>13}")
        for name, (path, _) in folders.items():
            size = sum(f.stat().st_size for f in pathlib.Path(path).rglob("*.*"))
            measures = zip(*found[name], strict=True)
            seconds, loaded, answered = map(statistics.median, measures)
            print(
                f"{name:20}{size / 1e6:6.0f}{seconds:8.2f}{loaded / 1e6:11.0f}"
                f"{answered / 1e6:13.0f}",
                flush=True,
            )


def _write(folder):
    """Exports both ways; returns the folder and the signature of each, by name."""
    from benchmarks.served_i3d import served_i3d
    from export import saved_model

    student = served_i3d(*_SHAPE[:2])
    ours = saved_model.export_student(student.model, f"{folder}/ours", student.spec)
    student.model.export(f"{folder}/plain", verbose=False)
    return {
        "kd_keras": (ours, "clip"),
        "model.export": (f"{folder}/plain", "serving_default"),
    }


def _load(path, signature):
    """Seconds to load, and bytes of memory more than before: loaded, and answered."""
    import tensorflow as tf

    clip = tf.zeros((1, *_SHAPE))
    before = processes.memory_bytes("VmRSS")
    start = time.perf_counter()
    loaded = tf.saved_model.load(path)
    answer = loaded.signatures[signature]
    seconds = time.perf_counter() - start
    after_load = processes.memory_bytes("VmRSS") - before
    (name,) = answer.structured_input_signature[1]
    answer(**{name: clip})
    return seconds, after_load, processes.memory_bytes("VmRSS") - before


if __name__ == "__main__":
    app.run(main)
