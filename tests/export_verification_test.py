import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from tensorflow.python.util import deprecation
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export import (
    check_command,
    command,
    given_students,
    run_card,
    saved_model,
    student_file,
    verification,
    warm_up,
    without_python,
)
from export.checking import CheckFailedError
from tests import served_colors
from tests.tiny_exports import TINY_SPEC, tiny_student

needs_compiler = pytest.mark.skipif(
    without_python.missing() is not None, reason=f"{without_python.missing()}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A served model whose version 2 has warm-up records of two batch sizes."""
    folder = tmp_path_factory.mktemp("models") / "name"
    version = served_colors.write(folder / "2")
    records = [_record("encoded_frames", encoded_frames=_files(n)) for n in (1, 3)]
    _write_records(version, records)
    return folder


def _files(batch):
    random = np.random.default_rng(batch)
    files = np.empty((batch, 4), dtype=object)
    for place in np.ndindex(files.shape):
        frame = random.integers(0, 256, (16, 24, 3), np.uint8)
        files[place] = simplejpeg.encode_jpeg(frame, 90, "RGB")
    return files


def _record(signature, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log.SerializeToString()


def _write_records(version, records):
    (version / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(version / warm_up.WARM_UP_FILE)) as writer:
        for record in records:
            writer.write(record)


def _copied(model, tmp_path):
    return shutil.copytree(model / "2", tmp_path / "2")


def test_the_check_says_what_it_did_and_what_it_did_not(model):
    said = []
    verification.verify(str(model), report=said.append)
    text = "\n".join(said)
    assert text.startswith(f"{model}/2:\n")
    assert "2 warm-up records" in text
    assert "encoded_frames: 2 requests" in text and "describe: 1 requests" in text
    assert ("without Python gives the same" in text) == (not without_python.missing())
    for part in ("JSON parser", "scheduler of batches", "polling", "metrics"):
        assert part in said[-1]


def test_the_check_does_not_pass_on_that_its_loader_is_deprecated(model, monkeypatch):
    said = []
    monkeypatch.setattr(tf.get_logger(), "callHandlers", said.append)
    load = tf.compat.v1.saved_model.loader.load
    for silent in (False, True):
        # TensorFlow says it once in a process.
        monkeypatch.setattr(deprecation, "_PRINTED_WARNING", {})
        said.clear()
        if silent:
            verification.load_session(str(model / "2"))
        else:
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                load(session, ["serve"], str(model / "2"))
        assert silent != any("deprecated" in each.getMessage() for each in said)


def test_records_are_read_as_they_were_written(model):
    records = list(warm_up.read(model / "2" / warm_up.WARM_UP_FILE))
    assert [name for name, _ in records] == ["encoded_frames", "encoded_frames"]
    assert records[1][1]["encoded_frames"].tolist() == _files(3).tolist()


@pytest.mark.parametrize(
    ("records", "error", "text"),
    [
        (
            [_record("other")],
            CheckFailedError,
            "ask for .'other'., which is",
        ),
        (
            [_record("encoded_frames", encoded_frames=[[b"no JPEG"]])],
            CheckFailedError,
            "encoded_frames answers no request: ",
        ),
        (
            [_record("encoded_frames", frames=_files(1))],
            CheckFailedError,
            "encoded_frames answers no request: ",
        ),
        ([b"\xff\xff"], ValueError, "is damaged"),
    ],
)
def test_warm_up_records_that_a_server_could_not_answer_are_named(
    model, tmp_path, records, error, text
):
    version = _copied(model, tmp_path)
    _write_records(version, records)
    with pytest.raises(error, match=text):
        verification.verify(str(version), report=lambda line: None)


@needs_compiler
def test_a_program_in_c_gives_the_right_answers(model, tmp_path):
    program = without_python.compile_program(tmp_path)
    colors = np.random.default_rng(0).integers(0, 256, (2, 4, 1, 1, 3), np.uint8)
    frames = np.broadcast_to(colors, (2, 4, 16, 16, 3))
    files = np.empty((2, 4), dtype=object)
    for place in np.ndindex(files.shape):
        frame = np.ascontiguousarray(frames[place])
        files[place] = simplejpeg.encode_jpeg(frame, 100, "RGB", "444")
    tensors = _tensors(model / "2")
    pictures = (
        {tensors["encoded_frames", "encoded_frames"]: files},
        [tensors["encoded_frames", "probabilities"]],
    )
    describe = (
        {tensors["describe", "clips"]: np.zeros(2, np.int32)},
        [tensors["describe", "student_json"]],
    )
    # It is loaded once for all of them.
    (found,), (text,), (again,) = without_python.ask(
        program, model / "2", [pictures, describe, pictures]
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, served_colors.probabilities(frames), atol=0.02)
    np.testing.assert_array_equal(again, found)
    assert text.shape == (2,) and "grün".encode() in text[1]


@needs_compiler
def test_what_the_program_cannot_do_is_told(model, tmp_path):
    program = without_python.compile_program(tmp_path)
    with pytest.raises(OSError, match="nothing: the graph has no such operation"):
        without_python.ask(program, model / "2", [({}, ["nothing:0"])])
    with pytest.raises(OSError, match="Could not find SavedModel|ot found"):
        without_python.ask(program, tmp_path / "none", [])
    tensors = _tensors(model / "2")
    broken = np.array([[b"no JPEG"]], dtype=object)
    with pytest.raises(OSError, match="Without Python: run: "):
        feeds = {tensors["encoded_frames", "encoded_frames"]: broken}
        fetches = [tensors["encoded_frames", "probabilities"]]
        without_python.ask(program, model / "2", [(feeds, fetches)])


@needs_compiler
def test_another_answer_without_python_is_an_error(model, monkeypatch):
    ask = without_python.ask
    monkeypatch.setattr(
        without_python,
        "ask",
        lambda *given: [[v * 0 for v in answer] for answer in ask(*given)],
    )
    with pytest.raises(CheckFailedError, match="is another one without Python"):
        verification.verify(str(model), report=lambda line: None)


def _tensors(version):
    """The tensor's name by (signature, input or output)."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(version))
    return {
        (signature, name): info.name
        for signature, definition in loaded.signature_def.items()
        for name, info in (*definition.inputs.items(), *definition.outputs.items())
    }


def test_an_export_passes_and_another_student_does_not(tmp_path, monkeypatch):
    student = tiny_student()
    student_file.save_student(student, tmp_path / "student.keras", TINY_SPEC)
    student_file.save_student(tiny_student(), tmp_path / "other.keras", TINY_SPEC)
    # Flags of the export may say something else than the file beside the student.
    spec = dataclasses.replace(TINY_SPEC, lead_time_s=7.5)
    saved_model.export_student(student, tmp_path / "models" / "name", spec)
    said = []
    given = str(tmp_path / "models" / "name"), str(tmp_path / "student.keras")
    verification.verify(*given, report=said.append)
    text = "\n".join(said)
    assert f"{given[1]} gives the same answers" in text
    anticipating = ("serving_default", "encoded_frames", "clip", "step")
    for name in (*anticipating, "features", "describe", "init_state"):
        assert f"{name}: 4 requests answered" in text
    # The program in C has answered them all.
    monkeypatch.setattr(without_python, "missing", lambda: "not asked")
    with pytest.raises(CheckFailedError, match=r"check \(.*differ.* from the Keras"):
        verification.verify(given[0], str(tmp_path / "other.keras"), report=said.append)


def test_a_folder_that_tensorflow_takes_for_a_pattern_is_checked(
    model, tmp_path, monkeypatch
):
    folder = shutil.copytree(model, tmp_path / "lr[1e-3]")
    monkeypatch.setattr(without_python, "missing", lambda: "not asked")
    said = []
    verification.verify(str(folder), report=said.append)
    assert f"takes {folder}/2 for a pattern, and TF Serving will not" in said[1]
    assert "  encoded_frames: 2 requests answered" in said


@pytest.mark.parametrize(
    "damaged",
    [saved_model.SPEC_FILE, saved_model.TWO_STREAMS_FILE, run_card.RUN_CARD],
)
def test_a_damaged_file_of_the_export_is_named(tmp_path, damaged):
    student_file.save_student(tiny_student(), tmp_path / "student.keras", TINY_SPEC)
    version = saved_model.export_student(tiny_student(), tmp_path / "name", TINY_SPEC)
    file = pathlib.Path(version, damaged)
    for text, message in (
        ('{"classes": [', "line 1 column"),
        ("null", "Expected an object.* Got None"),
        ("[]", r"Expected an object.* Got \[\]"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=f"{file}: .*{message}"):
            given_students.load_exported(str(tmp_path / "student.keras"), version)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rgb": None}, "Expected an object with .* Got None"),
        ({"weights": None}, "weights must be two numbers. Got None"),
        ({"weights": [1]}, r"weights must be two numbers. Got \[1\]"),
        ({"weights": [1, "a"]}, r"weights\[1\] must be a finite number. Got 'a'"),
    ],
)
def test_two_streams_of_other_kinds_are_named(tmp_path, changes, message):
    spec = json.loads(student_file.to_json(TINY_SPEC))
    file = tmp_path / saved_model.TWO_STREAMS_FILE
    file.parent.mkdir()
    file.write_text(
        json.dumps({"rgb": spec, "flow": spec, "weights": [1, 1]} | changes)
    )
    with pytest.raises(ValueError, match=f"{file}: {message}"):
        given_students.load_exported("rgb.keras,flow.keras", str(tmp_path))


def test_a_graph_that_is_empty_is_named(tmp_path):
    # What a disk may hold of a file after its power was cut.
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(ValueError, match="saved_model.pb is damaged"):
        verification.verify(str(tmp_path), report=lambda _: None)


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["m/name"], ["--model=m/name"]),
        (["m/name", "--student=s"], ["--model=m/name", "--student=s"]),
        (["--student=s", "m/name"], ["--student=s", "--model=m/name"]),
        (["--student", "s", "m/name"], ["--student", "s", "--model=m/name"]),
        (["--model", "m/name"], ["--model", "m/name"]),
        # The second is refused.
        (["m/name", "more"], ["--model=m/name", "more"]),
        ([], []),
    ],
)
def test_the_model_needs_no_flag_wherever_it_stands(arguments, read, monkeypatch):
    monkeypatch.setattr(check_command, "define_flags", lambda: None)
    monkeypatch.setattr(command, "start", lambda *_, **__: None)
    monkeypatch.setattr(sys, "argv", ["check.py", *arguments])
    check_command.start()
    assert sys.argv[1:] == read
