"""The main job end to end, as configs/smoke.flags runs it, and its interruptions."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl import flags

from tests import small_run, untrained_run
from train import experiment as experiment_lib
from train import networks, predictions, times
from train import results as results_lib
from train.flags import config as config_lib
from train.loop.loop import Phase
from train.run import run_experiment
from train.run_directory import RunDirectory

_ROOT = pathlib.Path(__file__).resolve().parent.parent

_STUDENTS = ("labels", "direct")


def _config(run_dir, *arguments):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    smoke = f"--flagfile={_ROOT / 'configs/smoke.flags'}"
    students = f"--students={','.join(_STUDENTS)}"
    values(["train.main", smoke, students, f"--run_dir={run_dir}", *arguments])
    return config_lib.from_flags(values)


@pytest.fixture(scope="module", autouse=True)
def _from_the_checkout():
    """Flagfiles name each other from the root of the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_ROOT)
        yield


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """The videos of every run, drawn once."""
    config = _config(tmp_path_factory.mktemp("scenes"))
    experiment_lib.open_experiment(config)
    return pathlib.Path(config.run.run_dir, "demo")


def _copy_scenes(scenes, run_dir):
    shutil.copytree(scenes, run_dir / "demo")


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("smoke") / "lr[1e-3] *?{}%#'$~ ü,"
    _copy_scenes(scenes, run_dir)
    return run_dir, run_experiment(_config(run_dir))


def test_a_run_leaves_everything_the_design_lists(finished):
    run_dir, results = finished
    for name in (
        "run.flags",
        "results.json",
        "metrics.jsonl",
        "teacher.keras",
        "student.keras",
        "student.json",
        "table.png",
        "confusion.png",
        "curves.png",
        "inputs.png",
        "export/1/saved_model.pb",
        *(f"students/{m}.keras" for m in _STUDENTS),
    ):
        assert (run_dir / name).stat().st_size > 0, name
    assert list((run_dir / "tensorboard").glob("*/events*"))
    assert json.loads((run_dir / "results.json").read_text()) == results
    assert not list(run_dir.glob(".*"))


def test_a_run_keeps_what_its_parts_took_and_what_its_networks_said(finished):
    run_dir, results = finished
    students = [f"student_{method}" for method in results["students"]]
    parts = times.read(run_dir)
    names = ["teacher", *students, "evaluation", "export"]
    assert [part.name for part in parts] == names
    assert all(part.seconds > 0 for part in parts)
    kept = predictions.read(run_dir / "predictions.npz")
    assert kept.methods == list(results["students"])
    assert len(kept.labels) == results["num_evaluated"]
    for method, scores in results["students"].items():
        hits = kept.hits(predictions.of_student(method))
        assert hits.mean() == pytest.approx(scores["top1"])


def test_results_are_fractions_and_counts(finished):
    _, results = finished
    student = results["student"]
    for value in (
        results["teacher"]["future"]["top1"],
        results["teacher"]["observed"]["top1"],
        results["majority"]["top1"],
        student["top1"],
        student["top5"],
        student["class_mean_recall"],
        student["agreement"],
    ):
        assert 0 <= value <= 1
    assert student["top1"] == max(s["top1"] for s in results["students"].values())
    assert results["num_train_unlabeled"] > results["num_train_labeled"] > 0
    assert np.sum(results["confusion"]["teacher"]) == results["num_evaluated"]
    assert results["bad_videos"] == {"count": 0, "reasons": {}}


def test_the_best_student_is_the_one_at_the_top(finished):
    run_dir, results = finished
    best = keras.saving.load_model(
        run_dir / "students" / f"{results['best_student']}.keras"
    )
    student = keras.saving.load_model(run_dir / "student.keras")
    for one, other in zip(best.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_failed_export_costs_no_results(tmp_path, monkeypatch, capsys):
    data, run_dir = small_run.write_data_set(tmp_path / "data", 4), tmp_path / "run"
    flags = (*small_run.SMALLEST_NETWORK, "--students=direct", "--export")
    config = small_run.config(data, run_dir, *flags)

    def fails(*_, **__):
        raise RuntimeError("No such variable.")

    # What is exported need not have learned anything.
    monkeypatch.setattr(Phase, "run", untrained_run.validated_alone)
    monkeypatch.setattr(results_lib, "export_and_check", fails)
    with pytest.raises(results_lib.ExportFailedError) as raised:
        run_experiment(config)
    assert f"its results are in {run_dir}, and its export failed" in str(raised.value)
    assert "RuntimeError: No such variable. Correct the cause" in str(raised.value)
    results = json.loads((run_dir / "results.json").read_text())
    assert results["students"]["direct"] and "export" not in results
    said = capsys.readouterr().out.splitlines()
    line = next(li for li in said if li.startswith("student, pseudo-labels + L_direct"))
    student = results["students"]["direct"]
    cells = [f"{100 * student['top1']:.1f}", f"{student['loss']:.2f}"]
    assert line.split()[-2:] == cells
    # What most clips are has no probabilities, so it has no loss.
    majority = next(li for li in said if li.startswith("majority"))
    assert majority.split()[1:] == [f"{100 * results['majority']['top1']:.1f}"]
    # The same command makes up for it, and trains nothing anew.
    trained = (run_dir / "metrics.jsonl").read_bytes()
    exported = []

    def export(student, folder, *_, **__):
        exported.append(folder)
        return folder / "1"

    monkeypatch.setattr(results_lib, "export_and_check", export)
    again = run_experiment(config)
    assert exported == [run_dir / "export"]
    assert again["export"] == "export/1"
    assert again["students"] == results["students"]
    assert (run_dir / "metrics.jsonl").read_bytes() == trained
    assert json.loads((run_dir / "results.json").read_text()) == again
    # A finished run keeps its students' results when it is asked for its teacher.
    teacher_alone = small_run.config(data, run_dir, *flags, "--task=teacher")
    assert run_experiment(teacher_alone) == again
    assert json.loads((run_dir / "results.json").read_text()) == again
    assert predictions.read(run_dir / predictions.FILE).methods == ["direct"]
    recorded = (run_dir / times.FILE).read_text()
    assert recorded.count('"evaluation"') == recorded.count('"export"') == 1


def test_a_first_try_that_fails_leaves_the_folder_to_any_run(scenes, tmp_path):
    _copy_scenes(scenes, tmp_path)
    wrong = ("--dataset=csv", "--annotations=missing.csv", f"--video_root={_ROOT}")
    for arguments in (wrong, ("--batch_size=7", "--feature_layer=Mixed_9z")):
        with pytest.raises(ValueError, match="is not a file|has no layer"):
            run_experiment(_config(tmp_path, *arguments))
        assert not {"run.flags", "run.json"} & {p.name for p in tmp_path.iterdir()}
    experiment_lib.open_experiment(_config(tmp_path)).directory.begin()
    assert config_lib.from_flagfile(tmp_path / "run.flags") == _config(tmp_path)


def test_run_flags_repeat_the_run(finished):
    run_dir, _ = finished
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["train.main", f"--flagfile={run_dir / 'run.flags'}"])
    assert config_lib.from_flags(values) == _config(run_dir)


def test_other_flags_are_refused_by_name(finished):
    run_dir, _ = finished
    with pytest.raises(ValueError, match=r"--seed was 0, now 7"):
        RunDirectory(_config(run_dir, "--seed=7"))


def test_a_start_from_nothing_is_refused_by_name(scenes, tmp_path):
    for task, missing in (("student", "teacher"), ("evaluate", "teacher")):
        _copy_scenes(scenes, tmp_path / task)
        config = _config(tmp_path / task, f"--task={task}")
        with pytest.raises(
            ValueError, match=f"--task={task} needs a trained {missing}"
        ):
            run_experiment(config)


def test_student_starts_where_it_is_told():
    config = _config("unused")
    teacher = networks.build_teacher(config, 5)
    teacher.set_weights([weight + 1 for weight in teacher.get_weights()])

    def start(init):
        distillation = dataclasses.replace(config.distillation, student_init=init)
        changed = dataclasses.replace(config, distillation=distillation)
        return networks.start_student(changed, teacher).get_weights()

    initial = networks.build_student(config, 5).get_weights()
    for init, expected in (("teacher", teacher.get_weights()), ("pretrained", initial)):
        for one, other in zip(start(init), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    kernels = [w for w in start("fresh") if w.ndim == 5]
    starts = [w for w in initial if w.ndim == 5]
    assert all(not np.array_equal(k, s) for k, s in zip(kernels, starts, strict=True))


def test_a_teacher_of_another_width_cannot_be_copied_into_the_student():
    config = _config("unused")
    teacher = networks.build_teacher(_config("unused", "--width=0.25"), 5)
    with pytest.raises(ValueError, match="must be the same"):
        networks.start_student(config, teacher)


def test_the_command_line_says_what_is_wrong_in_a_line():
    found = subprocess.run(
        [sys.executable, "-m", "train.main", "--run_dir=x", "--num_frames=3"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert "num_frames" in found.stderr and "Traceback" not in found.stderr


def test_float16_without_a_gpu_is_refused_before_anything_is_written(tmp_path):
    config = _config(tmp_path / "run", "--dtype_policy=mixed_float16")
    before = keras.config.dtype_policy()
    with pytest.raises(ValueError, match="mixed_float16 needs a GPU"):
        run_experiment(config)
    assert not (tmp_path / "run" / "run.json").exists()
    assert keras.config.dtype_policy() == before
