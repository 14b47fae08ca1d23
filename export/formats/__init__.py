"""The student's network in the formats of other runtimes, a module for each.

Keras's own exporters write them. The file takes what the network takes, a float32
`clip`, and gives `probabilities`; scaling and cropping of frames is left to the
program around it, and `student.json` beside the file says how.

Each module has:

- `PACKAGES`: the packages that it needs, as pip takes them, by the name that Python
  imports.
- `write(network, file)`: writes the file, and perhaps others beside it.
- `load(file)`: a function from clips to probabilities, by the format's own runtime.
"""

import importlib
import importlib.util
import os
import pathlib
from collections.abc import Callable, Mapping
from types import ModuleType

import keras
import numpy as np

from export import run_card, server_files, student_file, versions
from export.accuracy import AccuracyChange
from export.checking import CheckFailedError
from export.format_files import FORMAT_FILES
from export.signatures import ServedStudent
from export.student_file import ExportSpec
from kd_keras.data import remote
from kd_keras.models.outputs import as_probabilities

# Beside the file, as `student_file.to_json` writes it.
SPEC_FILE = "student.json"

# The logarithms of probabilities may differ by so much of 1 and their own size.
_TOLERANCE = 1e-4
# Below this a probability is as good as zero.
_FLOOR = 1e-30


def require(name: str) -> ModuleType:
    """The module of a format.

    Raises:
        ValueError: If packages that it needs are not installed.
    """
    module = importlib.import_module(f"{__name__}.{name}")
    require_packages(f"--format={name}", module.PACKAGES)
    return module


def require_packages(flag: str, packages: Mapping[str, str]) -> None:
    """Raises a ValueError with a command to type if packages are not installed."""
    missing = [each for each in packages if importlib.util.find_spec(each) is None]
    if missing:
        raise ValueError(
            f"{flag} needs {', '.join(missing)}: pip install "
            f"{' '.join(packages.values())}"
        )


def export_and_check(
    student: keras.Model,
    output_dir: str | os.PathLike,
    spec: ExportSpec,
    name: str,
    version: int | None = None,
    fold_batch_norm: bool = True,
    source: str | os.PathLike | None = None,
    lower: Callable[[pathlib.Path], AccuracyChange] | None = None,
    **options,
) -> str:
    """Writes `<output_dir>/<version>/` in a format; returns that path.

    Servers of these formats look for such folders, too. The file has to give the
    student's probabilities for batches of 1, 2 and 3 random clips: their logarithms may
    differ by 1e-4 of 1 and their own size. The folder gets its name after that. Beside
    the file lie `student.json` and the cards, see `run_card`.

    Args:
        name: `onnx`, `openvino` or `litert`.
        version: Number of the folder; None takes the next free one.
        fold_batch_norm: Whether BatchNorm becomes a part of the convolutions before it.
        source: The student's file; its run tells the cards of training.
        lower: Called with the checked file before its folder gets its name, to replace
            it by one of a lower precision; what it raises leaves nothing behind.
        options: What the format's `write` takes besides.
    Raises:
        ValueError: If a package is missing, the format cannot hold the network, the
            student does not fit the spec, or the version exists.
        CheckFailedError: If an answer differs; nothing is left in `output_dir` then.
    """
    module = require(name)
    student_file.check_fits(student, spec)
    output = os.fspath(output_dir).rstrip("/")
    remote.require_file_system(output)
    served = ServedStudent(student, spec)
    if fold_batch_norm:
        served = served.folded()
    network = _network(served)
    expected = as_probabilities(student, served.clip_shape)
    version = versions.free_number(output, version)
    with versions.written_aside(output, version) as aside:
        aside.mkdir(exist_ok=True)
        file = aside / FORMAT_FILES[name]
        module.write(network, str(file), **options)
        (aside / SPEC_FILE).write_text(student_file.to_json(spec), "utf-8")
        _check(module, file, expected, served.clip_shape)
        run_card.write_of_network(
            served,
            aside,
            server_files.model_name(output),
            version,
            () if source is None else (source,),
            change=None if lower is None else lower(file),
        )
    return f"{output}/{version}"


def _network(served: ServedStudent) -> keras.Model:
    """Maps `clip`, of a fixed shape but for the batch, to `probabilities`."""
    clip = keras.Input(served.clip_shape, dtype="float32", name="clip")
    probabilities = as_probabilities(served.model, served.clip_shape)(clip)
    return keras.Model(clip, {"probabilities": probabilities}, name=served.model.name)


def _check(module, file, expected, clip_shape) -> None:
    random, answers = np.random.default_rng(0), module.load(str(file))
    for batch in (1, 2, 3):
        clips = random.uniform(-1, 1, (batch, *clip_shape)).astype(np.float32)
        right = keras.ops.convert_to_numpy(expected(clips, training=False))
        found = answers(clips)
        if found.shape != right.shape:
            raise CheckFailedError(
                f"{file.name} must give probabilities of the shape "
                f"{right.shape}. Got {found.shape}; it was removed."
            )
        logs = [np.log(np.maximum(each, _FLOOR)) for each in (found, right)]
        off = np.max(np.abs(logs[0] - logs[1]) / (1 + np.abs(logs[1])))
        if not off <= _TOLERANCE:
            raise CheckFailedError(
                f"{file.name}: log-probabilities differ from the Keras model's "
                f"by up to {off:.2g} of their size; {_TOLERANCE:.2g} was allowed. It "
                "was removed."
            )
