"""The exported student: what a Session gives, and how its folder gets its name."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kd_keras
from export import checking, saved_model, student_file, versions
from export import main as export_main
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from kd_keras.models.folded_batch_norm import fold_batch_norm
from tests.tiny_exports import (
    CLASSES,
    TINY_SPEC,
    as_served,
    damage_weights,
    listing,
    random_frames,
    session_of,
    tiny_student,
)

ROOT = pathlib.Path(export_main.__file__).parents[1]
SPEC = ExportSpec(CLASSES, ClipFormat(16, 32), observed_s=1.0, lead_time_s=0.5)


def i3d(**arguments):
    return kd_keras.I3D(
        num_classes=4, num_frames=16, image_size=32, width=0.125, **arguments
    )


@pytest.fixture(scope="module")
def student():
    return i3d(dropout=0.5)


@pytest.fixture(scope="module")
def served(student, tmp_path_factory):
    """An exported and checked I3D; the path of its version 1."""
    output = tmp_path_factory.mktemp("models") / "i3d"
    # The check must not depend on where a command is run from.
    before = os.getcwd()
    os.chdir(output.parent)
    try:
        return saved_model.export_and_check(student, output, SPEC)
    finally:
        os.chdir(before)


def test_the_signature_is_as_documented(served):
    _, loaded = session_of(served)
    signature = loaded.signature_def["serving_default"]

    def described(infos):
        return {
            name: (
                tf.as_dtype(info.dtype).name,
                [dim.size for dim in info.tensor_shape.dim],
            )
            for name, info in infos.items()
        }

    assert described(signature.inputs) == {"frames": ("uint8", [-1, -1, -1, -1, 3])}
    assert described(signature.outputs) == {
        "probabilities": ("float32", [-1, 4]),
        "top_k_indices": ("int32", [-1, 4]),
        "top_k_probabilities": ("float32", [-1, 4]),
        "top_k_classes": ("string", [-1, 4]),
        "lead_time_s": ("float32", [-1]),
    }
    assert not any(
        function.attr["_XlaMustCompile"].b
        for function in loaded.graph_def.library.function
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_a_session_gives_the_students_probabilities(served, student, batch):
    frames = random_frames(batch, 16, 32, 32, 3)
    answer = as_served(served, frames)
    logits = student(frames / 127.5 - 1, training=False).numpy().astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-4)

    order = np.argsort(-expected, axis=1)
    np.testing.assert_array_equal(answer["top_k_indices"], order)
    names = [[CLASSES[i].encode() for i in row] for row in order]
    assert answer["top_k_classes"].tolist() == names
    np.testing.assert_allclose(
        answer["top_k_probabilities"],
        np.take_along_axis(expected, order, axis=1),
        rtol=1e-4,
    )


def test_frames_of_any_number_and_size_are_served(served):
    for shape in ((2, 30, 48, 70, 3), (1, 5, 20, 20, 3)):
        answer = as_served(served, random_frames(*shape))
        assert answer["probabilities"].shape == (shape[0], 4)
        np.testing.assert_allclose(answer["probabilities"].sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (3,),
        (32, 32, 3),
        (16, 32, 32, 3),
        (1, 16, 32, 32, 1),
        (1, 16, 32, 32, 4),
        (1, 16, 32, 32, 0),
        (1, 3, 16, 32, 32),
        (1, 1, 16, 32, 32, 3),
        (0, 16, 32, 32, 3),
        (1, 0, 32, 32, 3),
        (1, 16, 0, 32, 3),
        (1, 16, 32, 0, 3),
    ],
    ids=str,
)
def test_a_session_says_which_frames_were_expected(served, shape):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        as_served(served, np.zeros(shape, np.uint8))
    came = " ".join(map(str, shape))
    assert (
        "assertion failed: [frames must have the shape (batch, time, height, width, 3),"
        f" each of it 1 or more. Got the shape] [{came}]"
    ) in str(error.value)


def test_loaded_without_a_session_it_says_the_same(served):
    serve = tf.saved_model.load(served).signatures["serving_default"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="height, width, 3"):
        serve(frames=tf.zeros((1, 16, 32, 32, 4), tf.uint8))


def test_tools_show_the_shape_of_the_frames(served):
    tool = pathlib.Path(sys.executable).with_name("saved_model_cli")
    shown = subprocess.run(
        [tool, "show", "--dir", served, "--all"], capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    about = re.search(r"inputs\['frames'\].*?name", shown.stdout, re.DOTALL)[0]
    assert "dtype: DT_UINT8" in about and "shape: (-1, -1, -1, -1, 3)" in about
    assert saved_model.num_channels(served) == 3


def test_weights_are_stored_once(served, student):
    stored = sum(p.stat().st_size for p in pathlib.Path(served, "variables").iterdir())
    weights = 4 * fold_batch_norm(student).count_params()
    # The index names every variable; twice the weights would be far above.
    assert weights < stored < 1.1 * weights
    weights = 4 * student.count_params()
    assert saved_model.size_in_bytes(student) == pytest.approx(weights, rel=0.01)


def test_batch_norm_is_a_part_of_the_convolutions(served):
    stored = tf.train.list_variables(f"{served}/variables/variables")
    # Each convolution has a kernel and a bias; besides them there is dropout's state.
    shapes = [shape for name, shape in stored if name.startswith("variables_")]
    assert sorted(map(len, shapes)) == [1] * 59 + [5] * 58


def test_the_spec_lies_beside_the_graph(served):
    text = pathlib.Path(served, saved_model.SPEC_FILE).read_text()
    assert student_file.from_json(text) == SPEC


def test_other_users_may_read_what_is_served(tmp_path):
    before = os.umask(0o022)
    try:
        path = saved_model.export_student(tiny_student(), tmp_path, TINY_SPEC)
    finally:
        os.umask(before)
    assert os.stat(path).st_mode & 0o055 == 0o055


def test_versions_count_up_and_are_never_overwritten(tmp_path):
    student = tiny_student()
    output = tmp_path / "name"
    paths = [saved_model.export_student(student, output, TINY_SPEC) for _ in range(2)]
    paths.append(saved_model.export_student(student, output, TINY_SPEC, version=10))
    (output / "notes").mkdir()
    paths.append(saved_model.export_student(student, f"{output}/", TINY_SPEC))
    assert [os.path.relpath(p, output) for p in paths] == ["1", "2", "10", "11"]
    with pytest.raises(ValueError, match="10 exists and is never overwritten"):
        saved_model.export_student(student, output, TINY_SPEC, version=10)
    assert listing(output) == ["1", "10", "11", "2", "notes"]


def test_a_version_taken_meanwhile_is_not_overwritten(tmp_path):
    def take_it(aside):
        assert listing(tmp_path) == [aside.name] and aside.name.startswith(".")
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "theirs").touch()

    with pytest.raises(OSError, match="written by another export meanwhile"):
        saved_model.export_student(tiny_student(), tmp_path, TINY_SPEC, check=take_it)
    assert listing(tmp_path) == ["1"] and listing(tmp_path / "1") == ["theirs"]


def test_top_k_is_at_most_the_number_of_classes(tmp_path):
    path = saved_model.export_student(tiny_student(), tmp_path, TINY_SPEC, top_k=2)
    answer = as_served(path, random_frames(3, 8, 16, 16, 3))
    assert answer["top_k_indices"].shape == (3, 2)
    assert answer["probabilities"].shape == (3, 4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_inside_gives_float32_outside(tmp_path, policy):
    student = tiny_student(dtype=policy)
    assert student.output.dtype != "float32"
    path = saved_model.export_student(student, tmp_path, TINY_SPEC)
    answer = as_served(path, random_frames(1, 8, 16, 16, 3))
    assert answer["probabilities"].dtype == np.float32
    assert answer["top_k_probabilities"].dtype == np.float32


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    def half_written(*args, **kwargs):
        save(*args, **kwargs)
        raise OSError("disk full")

    save = tf.saved_model.save
    monkeypatch.setattr(tf.saved_model, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        saved_model.export_student(tiny_student(), tmp_path, TINY_SPEC)
    assert listing(tmp_path) == []


def test_what_fails_its_check_gets_no_name(tmp_path, monkeypatch):
    def write(student, folder):
        written(student, folder)
        damage_weights(folder)

    written = saved_model._write
    monkeypatch.setattr(saved_model, "_write", write)
    with pytest.raises(checking.CheckFailedError, match="Checksum does not match"):
        saved_model.export_and_check(tiny_student(), tmp_path, TINY_SPEC)
    assert listing(tmp_path) == []


def test_importing_the_package_imports_nothing_else():
    code = "import sys, export; assert not {'numpy', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_remote_file_systems_get_the_graph_last(monkeypatch):
    copied = []
    copy = tf.io.gfile.copy
    monkeypatch.setattr(
        tf.io.gfile, "copy", lambda a, b: (copied.append(b), copy(a, b))
    )
    output = "ram://models/name"
    paths = [
        saved_model.export_student(tiny_student(), output, TINY_SPEC) for _ in range(2)
    ]
    assert paths == [f"{output}/1", f"{output}/2"]
    assert copied[-1] == f"{output}/2/saved_model.pb"
    answer = as_served(paths[1], random_frames(1, 8, 16, 16, 3))
    assert answer["probabilities"].shape == (1, 4)


def test_a_remote_copy_that_fails_is_removed(monkeypatch):
    def fail_at_the_graph(source, target):
        if target.endswith("saved_model.pb"):
            raise OSError("connection lost")
        copy(source, target)

    copy = tf.io.gfile.copy
    monkeypatch.setattr(tf.io.gfile, "copy", fail_at_the_graph)
    with pytest.raises(OSError, match="connection lost"):
        saved_model.export_student(tiny_student(), "ram://models/lost", TINY_SPEC)
    assert versions.versions("ram://models/lost") == []
    assert not tf.io.gfile.exists("ram://models/lost/1")


def test_of_two_exports_that_take_one_number_the_first_to_end_stays(tmp_path):
    for output in ("ram://models/raced", str(tmp_path / "raced")):
        student = tiny_student()
        rival = []

        def take_the_number(_, output=output, student=student, rival=rival):
            rival.append(saved_model.export_student(student, output, TINY_SPEC, 1))

        with pytest.raises(OSError, match="1 was written by another export meanwhile"):
            saved_model.export_student(
                student, output, TINY_SPEC, version=1, check=take_the_number
            )
        assert rival == [f"{output}/1"] and versions.versions(output) == [1]
        answer = as_served(rival[0], random_frames(1, 8, 16, 16, 3))
        assert answer["probabilities"].shape == (1, 4)


def test_a_remote_copy_leaves_what_another_export_wrote_meanwhile(monkeypatch):
    folder, copied = "ram://models/met", []

    def meet(source, target):
        copied.append(target)
        if len(copied) == 2:
            # Another one has begun to write the same version.
            tf.io.gfile.makedirs(os.path.dirname(target))
            with tf.io.gfile.GFile(target, "w") as file:
                file.write("of another")
        copy(source, target)

    copy = tf.io.gfile.copy
    monkeypatch.setattr(tf.io.gfile, "copy", meet)
    with pytest.raises(OSError, match="written by another export meanwhile"):
        saved_model.export_student(tiny_student(), folder, TINY_SPEC)
    assert not tf.io.gfile.exists(copied[0])
    with tf.io.gfile.GFile(copied[1]) as file:
        assert file.read() == "of another"


def test_other_backends_are_refused(tmp_path, monkeypatch):
    student = tiny_student()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow; it is jax"):
        saved_model.export_student(student, tmp_path, TINY_SPEC)


def test_file_systems_that_need_an_extra_library_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(ValueError, match=r"s3:// paths need tensorflow-io"):
        saved_model.export_student(tiny_student(), "s3://bucket/name", TINY_SPEC)
