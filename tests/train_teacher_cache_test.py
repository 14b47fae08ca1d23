"""Stored targets are what the teacher says of every view, and no step asks it again."""

import numpy as np
import pytest

from tests import small_run, untrained_run
from train import experiment as experiment_lib
from train import teacher_cache
from train.loop import guards
from train.loop.loop import Phase
from train.student import load_or_train_student
from train.teacher import load_or_train_teacher, teacher_path

_FLAGS = (
    *small_run.SMALLEST_NETWORK,
    "--students=attention",
    "--feature_weight=0.1",
    "--views=2",
    "--nosame_augmentation",
    "--validate_every=1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_run.write_data_set(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """A function that trains a student, and the sizes of the blocks made meanwhile."""
    made = []
    make = teacher_cache.TeacherCache._make

    def counted(cache, unit, answer):
        made.append(len(unit))
        return make(cache, unit, answer)

    monkeypatch.setattr(teacher_cache.TeacherCache, "_make", counted)
    monkeypatch.setattr(teacher_cache, "_BLOCK", 6)

    def train(name, *flags, method="attention"):
        made.clear()
        config = small_run.config(folder, tmp_path / name, *_FLAGS, *flags)
        experiment = experiment_lib.open_experiment(config)
        if not (teacher := teacher_path(config.run)).exists():
            # It says something of every view, whether it learned anything or not.
            untrained_run.save_teacher(experiment, teacher)
        teacher = load_or_train_teacher(experiment)
        load_or_train_student(experiment, method, teacher)
        return experiment.directory.history(f"student_{method}"), list(made)

    return train


@pytest.mark.parametrize(
    ("modality", "caches"),
    [
        (("--brightness=0.1",), ("memory", "disk")),
        (("--modality=flow", "--flow_method=dis"), ("disk",)),
    ],
    ids=["rgb", "flow"],
)
def test_the_students_are_those_of_a_teacher_that_is_asked_each_time(
    run, tmp_path, modality, caches
):
    expected, _ = run("off", *modality)
    teacher = f"--teacher={tmp_path / 'off' / 'teacher.keras'}"
    for name in caches:
        found, made = run(name, *modality, f"--teacher_cache={name}", teacher)
        # 10 pairs of two views each, once for 16 of 4 steps.
        assert sum(made) == 20
        for record, wanted in zip(found, expected, strict=True):
            for key, value in wanted.items():
                if key != "phase":
                    np.testing.assert_allclose(
                        record[key], value, rtol=1e-4, atol=1e-6, err_msg=key
                    )


def test_what_is_missing_or_damaged_on_disk_is_made_again(
    run, tmp_path, monkeypatch, capsys
):
    # No step is taken, as all targets are made before the first.
    monkeypatch.setattr(Phase, "run", lambda phase: None)

    def run_again():
        (tmp_path / "disk" / "students" / "attention.keras").unlink(missing_ok=True)
        return run("disk", "--teacher_cache=disk")[1]

    run_again()
    (targets,) = (tmp_path / "disk" / "teacher_targets").iterdir()
    names = sorted(path.name for path in targets.iterdir())
    assert names == [f"block-{number:06d}" for number in range(4)]
    (targets / names[1]).rename(targets / ".1-cut")
    assert run_again() == [6]

    right = {path: path.read_bytes() for path in targets.rglob("*.npy")}
    for number, name in enumerate(("probabilities", "features", "reading")):
        damaged = targets / names[number] / f"{name}.npy"
        content = bytearray(right[damaged])
        content[-40] ^= 1
        damaged.write_bytes(content)
    (targets / names[3] / "readable.npy").unlink()
    capsys.readouterr()
    assert run_again() == [6, 6, 6, 2]
    assert capsys.readouterr().err.count("Making the damaged") == 4
    assert {path: path.read_bytes() for path in targets.rglob("*.npy")} == right


def test_the_students_of_a_run_share_what_is_on_disk(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(Phase, "run", lambda phase: None)
    made = {}
    for method in ("pseudo_labels", "direct", "attention"):
        flags = ["--students=pseudo_labels,direct,attention", "--teacher_cache=disk"]
        if method == "attention":
            flags.append("--cache=off")
        made[method] = sum(run("disk", *flags, method=method)[1])
    assert made == {"pseudo_labels": 20, "direct": 0, "attention": 0}
    assert "damaged" not in capsys.readouterr().err
    (targets,) = (tmp_path / "disk" / "teacher_targets").iterdir()
    kept = {path.stem for path in targets.rglob("*.npy")}
    assert kept == {"probabilities", "features", "reading", "readable"}


def test_targets_that_memory_has_no_room_for_are_refused(run, monkeypatch):
    monkeypatch.setattr(teacher_cache.memory, "available_bytes", lambda: 1000)
    match = "take 0.* GB, and 0.000 GB of memory are free. Use --teacher_cache=disk"
    with pytest.raises(ValueError, match=match):
        run("full", "--teacher_cache=memory")


def test_targets_that_cannot_be_written_name_their_folder(run, monkeypatch):
    def fail(path, array):
        # As NumPy says that a disk is full.
        raise OSError("8748 requested and 8064 written")

    monkeypatch.setattr(teacher_cache.kept_arrays, "write_array", fail)
    with pytest.raises(OSError, match="targets cannot be written to .*8064.* room"):
        run("full", "--teacher_cache=disk")


def test_views_that_never_come_again_are_not_kept(folder, tmp_path):
    config = small_run.config(folder, tmp_path, "--teacher_cache=memory", "--flip=0.5")
    with pytest.raises(ValueError, match="--teacher_cache=memory .* --views .try 8"):
        experiment_lib.open_experiment(config)


def test_a_teacher_below_the_majority_is_warned_of(capsys):
    guards.warn_of_teacher(0.4, 0.5, "validation clips")
    assert "right for 40.0 % of the validation clips" in capsys.readouterr().err
    guards.warn_of_teacher(0.5, 0.5, "validation clips")
    assert not capsys.readouterr().err


def test_a_teacher_without_a_lead_is_warned_of(capsys):
    students = {"no_teacher": 0.3, "labels": 0.4, "attention": 0.6}
    guards.warn_of_lead(0.4, students)
    said = capsys.readouterr().err
    assert "right for 40.0 % of the future clips, and the student labels for" in said
    guards.warn_of_lead(0.41, students)
    guards.warn_of_lead(0.4, {"attention": 0.6})
    assert not capsys.readouterr().err
