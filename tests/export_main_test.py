"""The command that exports a student file: what it says, writes and refuses."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

from export import checking, saved_model, student_file, versions
from export import main as export_main
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from tests.tiny_exports import (
    TINY_SPEC,
    as_served,
    random_frames,
    tiny_student,
)

ROOT = pathlib.Path(export_main.__file__).parents[1]


@pytest.fixture
def run_dir(tmp_path):
    student_file.save_student(tiny_student(), tmp_path / "student.keras", TINY_SPEC)
    return tmp_path


@pytest.fixture
def unchecked(monkeypatch):
    """Commands skip the check's process, which other tests start."""
    monkeypatch.setattr(checking, "check_in_fresh_process", lambda *_: None)


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


def test_batch_norm_can_be_left_as_it_is(run_dir, monkeypatch):
    given = []

    def exported(*_, fold_batch_norm, **__):
        given.append(fold_batch_norm)
        return "models/1"

    monkeypatch.setattr(saved_model, "export_served", exported)
    export_main.run(request(run_dir))
    export_main.run(request(run_dir, fold_batch_norm=False))
    assert given == [True, False]


def test_what_cannot_be_used_is_said_before_writing(run_dir, monkeypatch):
    with pytest.raises(ValueError, match="missing"):
        export_main.run(request(run_dir, student=str(run_dir / "other.keras")))
    with pytest.raises(ValueError, match="2 class names need logits"):
        (run_dir / "names").write_text("a\nb\n")
        export_main.run(request(run_dir, classes=str(run_dir / "names")))
    with pytest.raises(OSError, match="^--output=.*x must be a .*json is a file"):
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


def test_a_link_to_nothing_is_named(run_dir):
    link = run_dir / "link"
    link.symlink_to(run_dir / "gone")
    for output in (link, link / "model"):
        with pytest.raises(OSError, match="^--output=.*/link is a link to nothing"):
            export_main.run(request(run_dir, output=str(output)))


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
    assert versions.versions(output) == [7]
    answer = as_served(f"{output}/7", random_frames(1, 8, 16, 16, 3))
    assert answer["top_k_indices"].shape == (1, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_in_a_sentence_and_leaves_nothing(run_dir, number):
    command = [
        sys.executable,
        "-m",
        "export.main",
        f"--student={run_dir}/student.keras",
    ]
    process = subprocess.Popen(
        [*command, f"--output={run_dir}/out"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("Writing")
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 1 and "Traceback" not in said
    assert "export: stopped by a signal." in said
    assert not (run_dir / "out").exists()


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
