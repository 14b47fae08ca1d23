"""The folder of a run: what makes it that run, and which commands are the same run."""

import json

import pytest

from tests import tiny_training
from train.run_directory import RunDirectory

_ANY_CHARACTERS = "lr[1e-3] *?{}%#'$~ ü,\\x"


def _open(folder, *arguments):
    return RunDirectory(tiny_training.config(f"--run_dir={folder}", *arguments))


def _begin(folder, *arguments):
    directory = _open(folder, *arguments)
    directory.begin()
    return directory


def _work(directory):
    directory.log("teacher", 1, {"loss": 1.0})


def test_a_try_that_fails_leaves_no_flags(tmp_path):
    _open(tmp_path, "--annotations=wrong.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_work_becomes_the_run_of_other_flags(tmp_path):
    _begin(tmp_path, "--seed=1", "--annotations=wrong.csv")
    _begin(tmp_path, "--seed=2", "--annotations=right.csv")
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 2
    assert "--annotations=right.csv\n" in (tmp_path / "run.flags").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl",
        "results.json",
        "teacher.keras",
        "students/labels.keras",
        "state/teacher/step-00000001/state.index",
    ],
)
def test_work_makes_a_folder_the_run_of_its_flags(tmp_path, name):
    _begin(tmp_path, "--seed=1")
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    _open(tmp_path, "--seed=1")
    with pytest.raises(ValueError, match="other flags: --seed was 1, now 2. Give the"):
        _open(tmp_path, "--seed=2")


def test_paths_are_compared_and_not_their_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    run = tmp_path / "run"
    _work(_begin(run, "--video_root=data/videos", "--fuse=runs/a,runs/b"))
    for root in ("./data/videos", "data//videos/", f"{tmp_path}/x/../data/videos"):
        _open(f"{run}//", f"--video_root={root}", "--fuse=./runs/a,runs//b/")
    monkeypatch.chdir(tmp_path / "x")
    _open("../run", "--video_root=../data/videos", "--fuse=../runs/a,../runs/b")
    with pytest.raises(
        ValueError,
        match="--fuse was .*, now .*--video_root was 'data/videos', now '../data/clips",
    ):
        _open(run, "--video_root=../data/clips", "--fuse=runs/a")


def test_runs_of_before_that_keep_no_working_folder_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _work(_begin("run", "--video_root=data"))
    values = json.loads((tmp_path / "run/run.json").read_text())
    del values["working_folder"]
    (tmp_path / "run/run.json").write_text(json.dumps(values))
    _open("run", "--video_root=./data")


def test_runs_of_the_release_before_go_on_under_the_new_names_of_flags(tmp_path):
    _work(_begin(tmp_path, "--test_crops=center", "--stored_layer=Mixed_4f"))
    values = json.loads((tmp_path / "run.json").read_text())
    del values["test_crops"], values["stored_layer"], values["same_augmentation"]
    values |= {"test_views": "one", "layer": "Mixed_4f", "shared_draw": False}
    (tmp_path / "run.json").write_text(json.dumps(values))
    _open(tmp_path, "--test_crops=center", "--stored_layer=Mixed_4f")
    with pytest.raises(ValueError, match="--test_crops was 'center', now 'ten'"):
        _open(tmp_path, "--stored_layer=Mixed_4f")


def test_runs_of_before_a_flag_had_its_default(tmp_path):
    _work(_begin(tmp_path))
    values = json.loads((tmp_path / "run.json").read_text())
    for name in ("mixup", "demo_camera_drift", "fuse_weights", "flow_root"):
        del values[name]
    (tmp_path / "run.json").write_text(json.dumps(values))
    _open(tmp_path)
    with pytest.raises(ValueError, match="flags: --mixup was 0.0, now 0.5. Give"):
        _open(tmp_path, "--mixup=0.5")


def test_a_training_goes_on_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / _ANY_CHARACTERS
    weights = tiny_training.train(_open(folder), "--checkpoint_every_steps=5")
    (before,) = folder.glob("state/tiny/step-00000012")

    def never(step):
        raise AssertionError(f"step {step} is taken again")

    again = tiny_training.train(_open(folder), before=never)
    for one, other in zip(weights, again, strict=True):
        assert (one == other).all()
    assert before.exists() and list((folder / "tensorboard/tiny").iterdir())
