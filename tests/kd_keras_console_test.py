"""What reaches the console of a person who has no GPU, and what must."""

import os
import subprocess
import sys

import pytest

from kd_keras import console

_HEALTHY = [
    "2026-11-27 11:25:13.947728: E external/local_xla/xla/stream_executor/cuda/"
    "cuda_fft.cc:485] Unable to register cuFFT factory: Attempting to register",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild "
    "TensorFlow with the appropriate compiler flags.",
    "WARNING: All log messages before absl::InitializeLog() is called are written to "
    "STDERR",
    "I0000 00:00:1795778432.682614    3326 service.cc:146] XLA service 0x5644aa6d1300 "
    "initialized for platform Host",
]
_FOR_HER = [
    "F tensorflow/core/platform/cpu_feature_guard.cc:161] The TensorFlow library was "
    "compiled to use AVX512F instructions, but these aren't available on your machine.",
    "E tensorflow/core/common_runtime/bfc_allocator.cc] Ran out of memory",
    "Error: clips/öffnen.mp4 cannot be read",
]
_PROGRAM = """
import os, sys
from kd_keras import console
with console.without_noise():
    for line in sys.argv[2:]:
        os.write(2, line.encode() + b"\\n")
    if sys.argv[1] == "dies":
        os.abort()
    if sys.argv[1] == "raises":
        raise SystemExit("as it was told")
print("after", file=sys.stderr)
"""


def _said(end, *lines):
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM, end, *lines],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    return found.stderr.splitlines()


def test_lines_about_nobodys_problem_are_left_out():
    assert _said("well", *_HEALTHY, *_FOR_HER) == [*_FOR_HER, "after"]


def test_the_last_words_of_a_crash_come_through():
    assert set(_FOR_HER) <= set(_said("dies", *_FOR_HER))


def test_another_process_is_quieted_alike():
    text = "\n".join([*_HEALTHY, *_FOR_HER])
    assert console.quieted(text) == "\n".join(_FOR_HER)


def test_the_filter_does_not_hear_ctrl_c():
    program = """
import os, signal
from kd_keras import console
# Shells start background jobs that ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with console.without_noise():
        # As a terminal does: to the command, and to all that it started.
        os.killpg(0, signal.SIGINT)
        os.write(2, b"stopping\\n")
except KeyboardInterrupt:
    os.write(2, b"stopped\\n")
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert "stopped" in found.stderr.splitlines()
    assert "Traceback" not in found.stderr


def test_nothing_is_needed_of_a_closed_standard_error():
    program = """
import sys
from kd_keras import console
assert sys.stderr is None
with console.without_noise():
    print("goes on")
"""
    found = subprocess.run(
        f"exec '{sys.executable}' -c '{program}' 2>&-",
        shell=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (found.returncode, found.stdout) == (0, "goes on\n")


def test_an_error_inside_leaves_standard_error_as_it_was():
    assert _said("raises", _FOR_HER[0]) == [_FOR_HER[0], "as it was told"]


def test_tensorflow_is_imported_and_uses_xla_without_a_line():
    program = """
from kd_keras import console
tf = console.import_tensorflow()
# Found already, and said, if there is something to say.
tf.constant(1.0)
with console.without_noise():
    tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(0.0))
tf.function(lambda x: 2 * x, jit_compile=True)(tf.constant(0.0))
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("streams", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_command_ends_well_although_its_reader_left(tmp_path, streams):
    """As Ctrl-C makes the `tee` of `COMMAND 2>&1 | tee log` leave."""
    program = """
import pathlib, sys
from kd_keras import console
with console.reader_may_leave():
    for stream in (sys.stdout, sys.stderr):
        print("begun", file=stream, flush=True)
    sys.stdin.read()
    for stream in (sys.stdout, sys.stderr):
        stream.write("saving\\n")
        print("saving", file=stream, flush=True)
    pathlib.Path(sys.argv[1]).write_text("saved")
print("the end", file=sys.stderr, flush=True)
"""
    kept = {"stdout", "stderr"}.difference(streams)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for name in ("stdout", "stderr"):
            assert getattr(process, name).readline() == "begun\n"
        for name in streams:
            getattr(process, name).close()
        process.stdin.close()
        said = {name: getattr(process, name).read() for name in kept}
    assert process.returncode == 0
    assert (tmp_path / "file").read_text() == "saved"
    end = {"stdout": "", "stderr": "the end\n"}
    assert said == {name: "saving\nsaving\n" + end[name] for name in kept}
