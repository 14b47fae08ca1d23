"""Runs every benchmark in turn and prints the machine and their tables.

`python -m benchmarks [--only=NAME,...] [--epic_annotations=DIR]`. Each is a process of
its own with its defaults, so that `python -m benchmarks.NAME` gives the same. Goes on
after one that fails; the status says so at the end.
"""

import ast
import importlib.metadata
import pathlib
import platform
import re
import subprocess
import sys

from absl import app, flags

from kd_keras.data.parallel import num_cores

BENCHMARKS = (
    "training_step",
    "small_step",
    "feature_loss",
    "teacher_cache",
    "workers",
    "record_pipeline",
    "prepare_video",
    "flow",
    "streaming",
    "runtimes",
    "serving_input",
    "loading",
    "servicer",
    "memory",
    "epic_pairs",
    "million_clips",
    "scale",
)
# What is measured, and what it is compared with.
_PACKAGES = (
    *("tensorflow", "keras", "numpy", "av", "opencv-contrib-python-headless"),
    *("torch", "simplejpeg", "pandas", "onnxruntime", "openvino"),
)

_ONLY = flags.DEFINE_list(
    "only", list(BENCHMARKS), "Names of the benchmarks to run; by default all."
)
_EPIC = flags.DEFINE_string(
    "epic_annotations", None, "Folder of EPIC-KITCHENS-55's CSV files, for epic_pairs."
)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    unknown = set(_ONLY.value) - set(BENCHMARKS)
    if unknown:
        raise app.UsageError(
            f"--only: no benchmark is called {', '.join(sorted(unknown))}. Choose "
            f"from: {', '.join(BENCHMARKS)}."
        )
    print(_machine(), flush=True)
    failed = [name for name in _ONLY.value if not _succeeds(name)]
    if failed:
        print(f"\nFailed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def _machine():
    """The lines that say what the numbers were measured on."""
    versions = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{_processor()}, {num_cores()} cores\n{', '.join(versions)}"


def _processor():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    names = re.findall(r"model name\s*: (.*)", text)
    return names[0] if names else platform.processor() or platform.machine()


def _succeeds(name):
    """Whether a benchmark ran, or had nothing to run on."""
    path = pathlib.Path(__file__).with_name(f"{name}.py")
    title = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    print(f"\n## {name}: {title}\n", flush=True)
    arguments = []
    if name == "epic_pairs":
        if _EPIC.value is None:
            print("Skipped: it needs --epic_annotations=DIR.", flush=True)
            return True
        arguments = [f"--annotations={_EPIC.value}"]
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    # TensorFlow prints much there that is of no use if all is well.
    finished = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if finished.returncode:
        print(finished.stderr, file=sys.stderr, flush=True)
    return finished.returncode == 0


if __name__ == "__main__":
    app.run(main)
