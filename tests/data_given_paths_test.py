"""Paths as people type them: what is refused, what `~` is, which are the same."""

import os

import pytest
from absl import flags

from kd_keras.data import given_paths
from tests import tiny_training
from train.flags import config as config_lib

_ANY_CHARACTERS = "lr[1e-3] *?{}%#'$~ ü,\"\\日本"


def test_any_character_that_can_be_seen_is_fine():
    for path in (_ANY_CHARACTERS, f"/{_ANY_CHARACTERS}/x", "s3://bucket/a b", None):
        assert given_paths.problem(path) is None


@pytest.mark.parametrize(
    "path, says",
    [
        ("", "is empty"),
        ("runs/a ", "ends with a blank"),
        ("runs\n/a", "line end"),
        ("caf\udce9", "control character"),
    ],
)
def test_what_no_flagfile_can_hold_is_refused_when_it_is_parsed(path, says):
    for flag in ("run_dir", "annotations", "cache_dir", "weights"):
        with pytest.raises(flags.IllegalFlagValueError, match=f"(?s)--{flag}=.*{says}"):
            tiny_training.config(f"--{flag}={path}")


def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "old.csv").touch()
    for name, says in (
        ("t.txt", r"--timeline must end in \.csv or \.json. Got .*t\.txt"),
        ("no/t.csv", r"--timeline=.*no/t\.csv: its folder does not exist"),
        ("folder.csv", r"--timeline=.*folder\.csv is a folder"),
    ):
        with pytest.raises(ValueError, match=says):
            given_paths.require_output_file(
                "timeline", str(tmp_path / name), ".csv", ".json"
            )
    for name in ("new.json", "old.csv"):
        given_paths.require_output_file(
            "timeline", str(tmp_path / name), ".csv", ".json"
        )


def test_a_leading_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = tiny_training.config(
        "--run_dir=~/runs", "--video_root=./~/x", "--fuse=~/a,b~", "--teacher=a~b"
    )
    assert config.run.run_dir == "/home/me/runs"
    assert config.data.video_root == "./~/x"
    assert config.run.fuse == ("/home/me/a", "b~")
    assert config.run.teacher == "a~b"
    assert (
        given_paths.expanded("~~no user of this name~~") == "~~no user of this name~~"
    )


def test_a_flagfile_brings_back_every_path(tmp_path):
    given = tiny_training.config(
        f"--run_dir={_ANY_CHARACTERS}",
        f"--annotations=/a/{_ANY_CHARACTERS}.csv",
        '--fuse="a,b\'c [1]",d e#',
    )
    assert given.run.fuse == ("a,b'c [1]", "d e#")
    path = tmp_path / "run.flags"
    path.write_text(config_lib.to_flagfile(given), encoding="utf-8")
    assert config_lib.from_flagfile(path) == given


def test_spellings_of_one_path_are_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    spellings = ("data/x", "./data/x", "data//x/", f"{tmp_path}/data/x", "link/x")
    for one in spellings:
        for other in spellings:
            assert given_paths.is_same(one, other), (one, other)
        assert not given_paths.is_same(one, "data/y")
    assert given_paths.is_same("s3://bucket/x", "s3://bucket/x/")
    assert not given_paths.is_same("s3://bucket/x", "bucket/x")


def test_relative_paths_start_from_the_folder_they_were_given_in(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    assert given_paths.is_same("data/x", "x", folder=tmp_path)
    # A checkout may have moved to another machine.
    assert given_paths.is_same("x", "x", folder="/elsewhere")
    assert not given_paths.is_same("data/x", "x", folder=os.getcwd())
