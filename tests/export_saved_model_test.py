import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import kd_keras
from export import main as export_main
from export import saved_model, student_file
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat

ROOT = pathlib.Path(export_main.__file__).parents[1]
CLASSES = ("cut", "öffnen", "wash hands", "pour, slowly")
SPEC = ExportSpec(CLASSES, ClipFormat(16, 32), observed_s=1.0, lead_time_s=0.5)


def i3d(**arguments):
    return kd_keras.I3D(
        num_classes=4, num_frames=16, image_size=32, width=0.125, **arguments
    )


def tiny_student(num_classes=4, **arguments):
    """Loads and exports faster than I3D, for what does not depend on the network."""
    clip = keras.Input((8, 16, 16, 3))
    x = keras.layers.Conv3D(4, 3, strides=4, activation="relu", **arguments)(clip)
    x = keras.layers.BatchNormalization(**arguments)(x)
    x = keras.layers.GlobalAveragePooling3D(**arguments)(x)
    return keras.Model(clip, keras.layers.Dense(num_classes, **arguments)(x))


TINY_SPEC = ExportSpec(CLASSES, ClipFormat(8, 16))


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


@functools.cache
def session_of(path):
    """A Session, which is what TF Serving has, and what was loaded into it."""
    with tf.Graph().as_default():
        session = tf.compat.v1.Session()
        return session, tf.compat.v1.saved_model.loader.load(session, ["serve"], path)


def as_served(path, frames):
    session, loaded = session_of(path)
    signature = loaded.signature_def["serving_default"]
    fetches = {name: info.name for name, info in signature.outputs.items()}
    return session.run(fetches, {signature.inputs["frames"].name: frames})


def random_frames(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def listing(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


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


def by_hand(x):
    """A softmax that no structure tells of."""
    powers = keras.ops.exp(x)
    return powers / keras.ops.sum(powers, axis=-1, keepdims=True)


@pytest.mark.parametrize("softmax", [keras.layers.Softmax(), by_hand])
def test_a_student_that_ends_in_softmax_gets_no_second_one(
    tmp_path, softmax, unchecked, capsys
):
    logits = tiny_student()
    student = keras.Model(logits.input, softmax(logits.output))
    if softmax is by_hand:
        path = saved_model.export_and_check(student, tmp_path / "out", TINY_SPEC)
    else:
        student_file.save_student(student, tmp_path / "student.keras", TINY_SPEC)
        path = export_main.run(request(tmp_path))
        said = "ends in probabilities, which are served as they are"
        assert said in capsys.readouterr().out
    frames = random_frames(3, 8, 16, 16, 3)
    expected = student(frames / 127.5 - 1, training=False).numpy()
    answer = as_served(path, frames)["probabilities"]
    np.testing.assert_allclose(answer, expected, rtol=1e-5)


def test_a_student_that_ends_in_a_sigmoid_is_refused_before_writing(tmp_path):
    logits = tiny_student()
    student = keras.Model(logits.input, keras.ops.sigmoid(logits.output))
    student_file.save_student(student, tmp_path / "student.keras", TINY_SPEC)
    with pytest.raises(ValueError, match="ends in a sigmoid"):
        export_main.run(request(tmp_path))
    assert not (tmp_path / "out").exists()


def test_weights_are_stored_once(served, student):
    stored = sum(p.stat().st_size for p in pathlib.Path(served, "variables").iterdir())
    weights = sum(int(np.prod(v.shape)) * 4 for v in student.weights)
    # The index names every variable; twice the weights would be far above.
    assert weights < stored < 1.1 * weights
    assert saved_model.size_in_bytes(student) == pytest.approx(weights, rel=0.01)


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

    with pytest.raises(OSError, match="not empty"):
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
    def write(student, spec, top_k, folder):
        written(student, spec, top_k, folder)
        damage_weights(folder)

    written = saved_model._write
    monkeypatch.setattr(saved_model, "_write", write)
    with pytest.raises(saved_model.CheckFailedError, match="Checksum does not match"):
        saved_model.export_and_check(tiny_student(), tmp_path, TINY_SPEC)
    assert listing(tmp_path) == []


def damage_weights(folder):
    (data,) = pathlib.Path(folder).glob("variables/variables.data-*")
    values = bytearray(data.read_bytes())
    values[len(values) // 2] ^= 0x40
    data.write_bytes(values)


def changed(student, change):
    """A copy of the student whose classifier's weights were changed."""
    copy = keras.models.clone_model(student)
    copy.set_weights(student.get_weights())
    kernel, bias = copy.layers[-1].get_weights()
    copy.layers[-1].set_weights(change(kernel, bias))
    return copy


def compiled(student):
    """The same network with a last step that XLA compiles."""
    step = tf.function(lambda logits: logits + 0.0, jit_compile=True, autograph=False)
    last = keras.layers.Lambda(step, output_shape=student.output_shape[1:])
    return keras.Model(student.input, last(student.output))


# Run in a process of its own: whoever imports check.py can no longer import Keras.
CHECK_SEVERAL = """
import contextlib, io, json, runpy, sys
sys.path.insert(0, sys.argv[1])
check = runpy.run_path(sys.argv[1] + "/export/check.py")
imported = {n.split(".")[0] for n, module in sys.modules.items() if module is not None}
assert "tensorflow" in imported
assert not {"keras", "tf_keras", "kd_keras", "export"} & imported
results = []
for model in sys.argv[3:]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        results.append((check["main"](model, sys.argv[2]), said.getvalue()))
print(json.dumps(results))
"""


def test_the_check_finds_what_is_wrong(tmp_path):
    student = tiny_student()

    def exported(name, student=student, spec=TINY_SPEC, **arguments):
        return saved_model.export_student(student, tmp_path / name, spec, **arguments)

    def expected_of(student):
        return saved_model._expected_outputs(student, TINY_SPEC)

    half = tiny_student(dtype="mixed_bfloat16")
    half.set_weights(student.get_weights())
    reversed_names = ExportSpec(CLASSES[::-1], ClipFormat(8, 16))
    cases = {
        exported("good"): None,
        exported("two ranked", top_k=2): None,
        exported("damaged"): "Checksum does not match",
        exported("gone"): "",
        exported(
            "a little off", changed(student, lambda kernel, bias: (kernel * 1.01, bias))
        ): "log-probabilities differ",
        exported(
            "not a number",
            changed(student, lambda kernel, bias: (kernel * np.nan, bias)),
        ): "not finite",
        exported("half", half): "log-probabilities differ",
        exported("names", spec=reversed_names): "do not name",
        exported("compiled", compiled(student)): "compiled by XLA",
    }
    damage_weights(tmp_path / "damaged" / "1")
    shutil.rmtree(tmp_path / "gone" / "1")
    np.savez(tmp_path / "expected.npz", **expected_of(student))
    process = subprocess.run(
        [sys.executable, "-c", CHECK_SEVERAL, ROOT, tmp_path / "expected.npz", *cases],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    results = json.loads(process.stdout)
    for (path, message), (status, said) in zip(cases.items(), results, strict=True):
        assert status == (message is not None), (path, said)
        assert (message or "") in said, (path, said)
    # A student in half precision may differ by what rounding explains.
    ours, theirs = expected_of(half), expected_of(student)
    assert ours["tolerance"] > theirs["tolerance"]


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
    assert saved_model.versions("ram://models/lost") == []


def test_other_backends_are_refused(tmp_path, monkeypatch):
    student = tiny_student()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow; it is jax"):
        saved_model.export_student(student, tmp_path, TINY_SPEC)


def test_file_systems_that_need_an_extra_library_say_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(ValueError, match=r"s3:// paths need tensorflow-io"):
        saved_model.export_student(tiny_student(), "s3://bucket/name", TINY_SPEC)


@pytest.fixture
def run_dir(tmp_path):
    student_file.save_student(tiny_student(), tmp_path / "student.keras", TINY_SPEC)
    return tmp_path


@pytest.fixture
def unchecked(monkeypatch):
    """Commands skip the check's process, which other tests start."""
    monkeypatch.setattr(saved_model, "_check_in_fresh_process", lambda *_: None)


def request(run_dir, **changes):
    return export_main.Request(
        **{"student": str(run_dir / "student.keras"), "output": str(run_dir / "out")}
        | changes
    )


def written_spec(path):
    return student_file.from_json(pathlib.Path(path, saved_model.SPEC_FILE).read_text())


def test_the_command_says_first_what_it_writes(run_dir, unchecked, capsys):
    path = export_main.run(request(run_dir))
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"Writing {run_dir}/out/1: 0.0 MB of weights")
    assert "4 classes, clips of 8 frames, 16 x 16 pixels" in first
    assert written_spec(path) == TINY_SPEC


def test_classes_may_come_from_a_file(run_dir, unchecked):
    (run_dir / "student.json").unlink()
    (run_dir / "names").write_text("a\nb\nc\nd\n")
    path = export_main.run(request(run_dir, classes=str(run_dir / "names")))
    # The model fixes its frames and size.
    assert written_spec(path) == ExportSpec(tuple("abcd"), ClipFormat(8, 16))


def test_classes_of_the_flag_replace_those_of_the_sidecar(run_dir, unchecked):
    (run_dir / "names").write_text("a\nb\nc\nd\n")
    path = export_main.run(request(run_dir, classes=str(run_dir / "names")))
    assert written_spec(path).classes == tuple("abcd")


def test_a_student_of_any_size_needs_the_flags(run_dir, unchecked):
    clip = keras.Input((None, None, None, 3))
    pooled = keras.layers.GlobalAveragePooling3D()(clip)
    student = keras.Model(clip, keras.layers.Dense(2)(pooled))
    student.save(run_dir / "student.keras")
    (run_dir / "student.json").unlink()
    (run_dir / "names").write_text("a\nb\n")
    given = {"classes": str(run_dir / "names")}
    with pytest.raises(ValueError, match="give --num_frames and --image_size"):
        export_main.run(request(run_dir, **given))
    path = export_main.run(
        request(run_dir, num_frames=4, image_size=8, fit="stretch", **given)
    )
    assert written_spec(path) == ExportSpec(("a", "b"), ClipFormat(4, 8, "stretch"))


def test_what_cannot_be_used_is_said_before_writing(run_dir, monkeypatch):
    with pytest.raises(ValueError, match="missing"):
        export_main.run(request(run_dir, student=str(run_dir / "other.keras")))
    with pytest.raises(ValueError, match="2 class names need logits"):
        (run_dir / "names").write_text("a\nb\n")
        export_main.run(request(run_dir, classes=str(run_dir / "names")))
    with pytest.raises(OSError, match="is a file, not a folder"):
        export_main.run(request(run_dir, output=str(run_dir / "student.json" / "x")))
    with pytest.raises(OSError, match="not writable"):
        monkeypatch.setattr(os, "access", lambda *_: False)
        export_main.run(request(run_dir))
    monkeypatch.undo()
    with pytest.raises(OSError, match="are free"):
        usage = shutil.disk_usage(run_dir)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
        export_main.run(request(run_dir))
    assert not (run_dir / "out").exists()


def test_errors_are_one_line_and_a_status(run_dir, monkeypatch, capsys):
    asked = request(run_dir, student="missing.keras")
    given = {
        name: types.SimpleNamespace(value=value) for name, value in vars(asked).items()
    }
    monkeypatch.setattr(export_main, "FLAGS", given)
    assert export_main.main([]) == 1
    assert capsys.readouterr().err.startswith("export: Expected an existing .keras")


def test_the_command_line(run_dir):
    output = run_dir / "out"
    arguments = (
        f"--student={run_dir}/student.keras",
        f"--output={output}",
        "--top_k=2",
    )
    done = subprocess.run(
        [sys.executable, "-m", "export.main", *arguments, "--version=7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Writing {output}/7" in done.stdout
    assert listing(output) == ["7"]
    answer = as_served(f"{output}/7", random_frames(1, 8, 16, 16, 3))
    assert answer["top_k_indices"].shape == (1, 2)
