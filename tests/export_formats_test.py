"""The network in other formats: answers by each runtime, refusals in words."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import (
    exported_student,
    formats,
    int8,
    rollback,
    student_file,
    versions,
)
from export import main as export_main
from export.checking import CheckFailedError
from export.format_files import FORMAT_FILES
from export.formats import openvino
from tests import imported_names
from tests.tiny_exports import TINY_SPEC, listing, tiny_student

ROOT = Path(export_main.__file__).parents[1]
OTHERS = [name for name in FORMAT_FILES if name != "savedmodel"]


@pytest.fixture(scope="module")
def student():
    return tiny_student()


def required(name):
    """The module of a format, or a test that is skipped."""
    try:
        return formats.require(name)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", OTHERS)
def test_the_runtime_of_a_format_gives_the_students_answers(student, tmp_path, name):
    module = required(name)
    path = formats.export_and_check(student, tmp_path / "models", TINY_SPEC, name)
    file = Path(path, FORMAT_FILES[name])
    assert path == str(tmp_path / "models/1") and file.is_file()
    written = Path(path, formats.SPEC_FILE).read_text("utf-8")
    assert student_file.from_json(written) == TINY_SPEC
    clips = np.random.default_rng(3).uniform(-1, 1, (5, 8, 16, 16, 3))
    clips = clips.astype(np.float32)
    right = tf.nn.softmax(student(clips, training=False)).numpy()
    np.testing.assert_allclose(module.load(str(file))(clips), right, rtol=1e-4)


def test_the_card_counts_the_parameters_of_what_is_written(tmp_path):
    clip = keras.Input((8, 16, 16, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv3D(4, 3)(clip))
    x = keras.layers.GlobalAveragePooling3D()(x)
    student = keras.Model(clip, keras.layers.Dense(4)(x))
    for fold, taken in ((True, 4 * 4), (False, 0)):
        path = formats.export_and_check(
            student, tmp_path, TINY_SPEC, "litert", fold_batch_norm=fold
        )
        card = json.loads(Path(path, "run_card.json").read_text("utf-8"))
        # BatchNorm's four numbers a channel become a part of the convolution.
        assert card["num_parameters"] == student.count_params() - taken


def test_what_differs_is_removed(student, tmp_path, monkeypatch):
    module = formats.require("litert")
    load = module.load
    monkeypatch.setattr(
        module, "load", lambda file: lambda clips: load(file)(clips)[:, ::-1]
    )
    with pytest.raises(CheckFailedError, match=r"model.tflite: log-probabilities diff"):
        formats.export_and_check(student, tmp_path / "out", TINY_SPEC, "litert")
    assert listing(tmp_path / "out") == []


def student_with_max_pooling():
    clip = keras.Input((8, 16, 16, 3))
    pooled = keras.layers.MaxPooling3D(4)(clip)
    pooled = keras.layers.GlobalAveragePooling3D()(pooled)
    return keras.Model(clip, keras.layers.Dense(4)(pooled), name="pooled")


def test_litert_says_what_it_lacks(tmp_path):
    student = student_with_max_pooling()
    with pytest.raises(ValueError, match=r"cannot hold pooled: it has no MaxPool3D\. "):
        formats.export_and_check(student, tmp_path / "out", TINY_SPEC, "litert")
    assert listing(tmp_path / "out") == []
    # The interpreter of TensorFlow 2.21 cannot run what is TensorFlow's.
    has_delegate = tf.__version__.startswith("2.17")
    refused = pytest.raises(ValueError, match="has no Flex delegate, so a file with")
    with contextlib.nullcontext() if has_delegate else refused:
        formats.export_and_check(
            student, tmp_path / "out", TINY_SPEC, "litert", select_tf_ops=True
        )
    assert versions.versions(tmp_path / "out") == ([1] if has_delegate else [])


@pytest.fixture
def run_dir(tmp_path, student):
    student_file.save_student(student, tmp_path / "student.keras", TINY_SPEC)
    return tmp_path


def request(run_dir, **changes):
    return export_main.Request(
        str(run_dir / "student.keras"), str(run_dir / "out"), **changes
    )


def test_a_missing_package_is_a_command_to_type(run_dir, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "tf2onnx" else find_spec("os"),
    )
    sentence = r"--format=onnx needs tf2onnx: pip install onnx==\S+ onnxruntime==\S+ tf"
    with pytest.raises(ValueError, match=sentence):
        export_main.run(request(run_dir, format="onnx"))
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


def test_openvino_needs_what_its_backend_in_keras_imports():
    brought = importlib.metadata.requires("keras") or []
    needed = {"keras", *openvino.PACKAGES}
    needed |= {re.match(r"[\w-]+", each)[0].replace("-", "_") for each in brought}
    folder = Path(keras.__file__).parent / "src/backend/openvino"
    files = sorted(folder.rglob("*.py"))
    assert files
    for file in files:
        roots = {name.split(".")[0] for name in imported_names.of_file(file)}
        assert roots <= needed | sys.stdlib_module_names, file


def test_flags_of_other_formats_are_refused(run_dir):
    with pytest.raises(ValueError, match="--select_tf_ops is for --format=litert"):
        export_main.run(request(run_dir, select_tf_ops=True))
    with pytest.raises(ValueError, match="--keep_versions is for --format=savedmodel"):
        export_main.run(request(run_dir, format="litert", keep_versions=2))
    with pytest.raises(ValueError, match="--top_k is for --format=savedmodel"):
        export_main.run(request(run_dir, format="litert", top_k=5))
    with pytest.raises(ValueError, match="--max_accuracy_drop is for --precision=bfl"):
        export_main.run(request(run_dir, max_accuracy_drop=0.0))


def test_a_version_that_no_server_loads_is_named_by_its_format(tmp_path):
    for number in (1, 2):
        folder = tmp_path / f"name/{number}"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"")
    with pytest.raises(
        ValueError, match="2 is in the format onnx.*--format=savedmodel"
    ):
        exported_student.newest(str(tmp_path / "name"))
    rollback.run(rollback.Request(str(tmp_path / "name")))
    # Files for TF Serving would be of no use.
    assert sorted(os.listdir(tmp_path / "name")) == ["1", "rolled_back.2"]


def test_a_folder_holds_versions_in_one_format(run_dir, capsys):
    path = export_main.run(request(run_dir, format="litert"))
    said = capsys.readouterr().out
    assert f"{path}/model.tflite gives the student's outputs." in said
    with pytest.raises(ValueError, match=r"out/1 is in the format litert"):
        export_main.run(request(run_dir))
    assert versions.versions(run_dir / "out") == [1]


def test_the_extras_pin_what_the_formats_need():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = settings["project"]["optional-dependencies"]
    for name in OTHERS:
        module = importlib.import_module(f"export.formats.{name}")
        assert extras.get(name, []) == list(module.PACKAGES.values())
    assert extras["int8"] == [*extras["openvino"], *int8.PACKAGES.values()]
