"""An exported student beside ONNX Runtime and OpenVINO with the same weights.

`python -m benchmarks.runtimes` prints, for each size of a batch of clips, the median
and the 99th percentile of the time of an answer of I3D with 400 classes, and the
largest relative error of its probabilities. The signature `clip` is called in a
Session, as TF Serving calls it. Every runtime has as many threads as there are cores.
All take turns in one process, each with an untimed answer before the timed one. On a
processor that computes in bfloat16, TensorFlow and OpenVINO do that, too.
"""

import pathlib
import re
import tempfile

import keras
import numpy as np
import onnxruntime
import openvino
import tensorflow as tf
from absl import app, flags

from benchmarks import turns
from benchmarks.served_i3d import served_i3d, session_of
from export import formats, precision, saved_model
from kd_keras.data.parallel import num_cores
from kd_keras.models.outputs import as_probabilities

_WIDTH = flags.DEFINE_float("width", 1.0, "Of I3D.", lower_bound=0.01)
_SIZES = flags.DEFINE_list("sizes", ["16x112", "32x224"], "Frames x side of the clips.")
_BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Clips in a request.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Timed turns of each.", lower_bound=1)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    keras.utils.set_random_seed(0)
    print(f"{'':34}{'median ms':>11}{'p99 ms':>9}{'error':>10}")
    for size in _SIZES.value:
        num_frames, side = map(int, size.split("x"))
        student = served_i3d(num_frames, side, _WIDTH.value)
        with tempfile.TemporaryDirectory() as folder:
            runtimes = _runtimes(student, pathlib.Path(folder))
            for batch in map(int, _BATCHES.value):
                _print_answers(f"{batch} x {size}x{side}", student, runtimes, batch)


def _print_answers(title, student, runtimes, batch):
    shape = (batch, *student.clip_shape)
    clips = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    right = as_probabilities(student.model, student.clip_shape)(clips).numpy()
    ways = {name: _bound(answer, clips) for name, answer in runtimes.items()}
    errors = {name: np.abs(way() / right - 1).max() for name, way in ways.items()}
    for name, seconds in turns.all_seconds(ways, _REPEATS.value, untimed=1).items():
        median, p99 = 1e3 * np.percentile(seconds, [50, 99])
        print(
            f"{title:16}{name:18}{median:11.1f}{p99:9.1f}{errors[name]:10.1e}",
            flush=True,
        )


def _bound(answer, clips):
    return lambda: answer(clips)


def _runtimes(student, folder):
    """Functions from clips to probabilities, by name."""
    model, spec = student.model, student.spec
    files = {
        name: formats.export_and_check(model, folder / name, spec, name)
        for name in ("onnx", "openvino")
    }
    xml = f"{files['openvino']}/model.xml"
    found = {
        "kd_keras": _session(saved_model.export_student(model, folder / "tf", spec)),
        "ONNX Runtime": _onnx_runtime(f"{files['onnx']}/model.onnx"),
        "OpenVINO": _openvino(xml, "f32"),
    }
    if _computes_in_bfloat16():
        rounded = precision.rounded_to_bfloat16(student, fold_batch_norm=True)
        lowered = saved_model.export_student(rounded.model, folder / "bfloat16", spec)
        found["kd_keras, bf16"] = _session(lowered)
        found["OpenVINO, bf16"] = _openvino(xml, "bf16")
    return found


def _session(version):
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=num_cores())
    return session_of(version, "clip", config)


def _onnx_runtime(file):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_cores()
    session = onnxruntime.InferenceSession(
        file, options, providers=["CPUExecutionProvider"]
    )
    return lambda clips: session.run(["probabilities"], {"clip": clips})[0]


def _openvino(file, precision_hint):
    options = {
        "INFERENCE_NUM_THREADS": num_cores(),
        "INFERENCE_PRECISION_HINT": precision_hint,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.compile_model(file, "CPU", options)
    return lambda clips: compiled({"clip": clips})["probabilities"]


def _computes_in_bfloat16():
    """Whether the processor has instructions for it, as Linux tells."""
    file = pathlib.Path("/proc/cpuinfo")
    return file.exists() and bool(re.search("avx512_bf16|amx_bf16", file.read_text()))


if __name__ == "__main__":
    app.run(main)
