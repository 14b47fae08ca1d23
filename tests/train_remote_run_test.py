"""A run on a store goes on from whatever the store got, on a machine without files."""

import contextlib
import pathlib
import shutil
import signal
import tempfile

import numpy as np
import pytest

from kd_keras.data import exclusive, remote
from tests import tiny_training
from train import remote_run
from train.flags import config as config_lib
from train.loop.interruption import Interrupted
from train.remote_run import RemoteRun
from train.run_directory import RunDirectory

_FLAGS = ("--checkpoint_every_steps=3", "--keep_checkpoints=1")


class Killed(BaseException):
    """Stands for a process that ends without a word."""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """The folder for temporary files, of each test its own."""
    folder = tmp_path / "machine"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def store(tmp_path):
    """A folder that is used as a store."""
    return tmp_path / "store"


def _pulled(store):
    run = RemoteRun(f"file://{store}/")
    run.pull()
    return run


def _train(store):
    """Trains; returns the weights."""
    run = _pulled(store)
    directory = RunDirectory(tiny_training.config(f"--run_dir={run.path}"), store=run)
    weights = tiny_training.train(directory, *_FLAGS, steps=6)
    run.finish()
    return weights


def _forget(machine):
    shutil.rmtree(machine)
    machine.mkdir()


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _write(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"of {name}")


@contextlib.contextmanager
def _ends_at_copy(number, error):
    """While entered, the copy of this number and all later ones fail."""
    copied = []

    def copy(source, target):
        copied.append(target)
        if len(copied) > number:
            raise error
        whole(source, target)

    whole, remote.copy = remote.copy, copy
    try:
        yield copied
    finally:
        remote.copy = whole


def test_a_run_that_is_killed_in_a_push_continues_on_another_machine(
    store, tmp_path, machine, monkeypatch, capsys
):
    local = RunDirectory(tiny_training.config(f"--run_dir={tmp_path / 'local'}"))
    expected = tiny_training.train(local, *_FLAGS, steps=6)
    metrics = (tmp_path / "local" / "metrics.jsonl").read_bytes()
    kept = []

    def then_keep(change):
        def changed(*arguments):
            change(*arguments)
            kept.append(tmp_path / f"store-{len(kept)}")
            shutil.copytree(store, kept[-1])

        return changed

    with monkeypatch.context() as patch:
        for name in ("copy", "remove"):
            patch.setattr(remote, name, then_keep(getattr(remote, name)))
        _train(store)
    states = [path.parent.name for path in store.glob("state/*/*/*.index")]
    assert states == ["step-00000006"]
    said = ""
    # All of the last checkpoint: new files, then the old checkpoint's end.
    for moment in kept[-8:]:
        _forget(machine)
        capsys.readouterr()
        for one, other in zip(_train(moment), expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert (moment / "metrics.jsonl").read_bytes() == metrics
        printed = capsys.readouterr()
        assert printed.err == ""
        said += printed.out
    assert "continues at step 4" in said and "continues at step 6" in said


def test_the_store_holds_what_the_run_leaves_and_what_others_pull(store, machine):
    run = _pulled(store)
    left = [
        "run.flags",
        "tensorboard/tiny/events.1",
        "state/tiny/step-00000001/state.index",
        "state/tiny/step-00000001/state.data-00000-of-00001",
        "export/1/saved_model.pb",
        "export/1/variables/variables.index",
    ]
    aside = ["demo/v.mp4", "clips/1.npy", ".7-results.json", "state/tiny/.aside-7/a"]
    _write(run.path, [*left, "teacher_targets/key/0.npz", *aside])
    run.finish()
    assert sorted(_files(store)) == sorted(left)
    # A later checkpoint takes the place of the first; nothing else is ever removed.
    shutil.rmtree(run.path / "state" / "tiny" / "step-00000001")
    (run.path / "run.flags").unlink()
    left[2:4] = [name.replace("-00000001/", "-00000002/") for name in left[2:4]]
    _write(run.path, left[2:4])
    run.finish()
    assert sorted(_files(store)) == sorted(left)
    expected = _files(store)
    _forget(machine)
    assert _files(_pulled(store).path) == expected


def test_only_what_changed_is_copied_and_models_become_visible_last(store):
    run = _pulled(store)
    _write(run.path, ["state/a/step-1/state.index", "export/1/saved_model.pb", "b"])
    _write(run.path, ["metrics.jsonl", "c"])
    with _ends_at_copy(9, Killed()) as copied:
        run.push()
        names = [path.removeprefix(f"{run.url}/") for path in copied]
        assert names[:3] == ["metrics.jsonl", "b", "c"]
        assert set(names[3:]) == {
            "state/a/step-1/state.index",
            "export/1/saved_model.pb",
        }
        copied.clear()
        run.push()
        assert copied == []
        (run.path / "b").write_text("more than before")
        run.push()
        assert copied == [f"{run.url}/b"]


def test_an_export_without_its_model_is_made_again(store):
    _write(store, ["export/1/variables/variables.index", "export/2/saved_model.pb"])
    assert list(_files(_pulled(store).path)) == ["export/2/saved_model.pb"]


def test_the_store_is_right_unless_only_this_machine_has_changed_it(store):
    run = _pulled(store)
    _write(run.path, ["run.json", "metrics.jsonl"])
    run.finish()
    # As where the network is down at the end.
    _write(run.path, ["results.json", "demo/v.mp4"])
    assert "results.json" in _files(_pulled(store).path)
    (store / "metrics.jsonl").write_text("of another machine")
    run = _pulled(store)
    assert _files(run.path) == _files(store)
    assert sorted(_files(run.path)) == ["metrics.jsonl", "run.json"]
    # As where old temporary files are cleared.
    (run.path / "run.json").unlink()
    assert _files(_pulled(store).path) == _files(store)
    shutil.rmtree(store)
    assert _files(_pulled(store).path) == {}


def test_a_push_that_fails_is_tried_again_and_refused_at_the_end(store, capsys):
    run = _pulled(store)
    _write(run.path, ["a", "b", "c"])
    with _ends_at_copy(1, OSError("the network is down")):
        run.push()
        said = capsys.readouterr().err
        assert f"{run.url} could not be brought up to date: the network is down" in said
        assert len(_files(store)) == 1
        with pytest.raises(OSError, match=f"is in {run.path}: give the same command"):
            run.finish()
    # On this machine nothing is lost, even where the run is started again.
    run = _pulled(store)
    run.finish()
    assert sorted(_files(store)) == ["a", "b", "c"]


def test_the_run_knows_the_place_that_it_is_kept_in(store):
    given = f"file://{store}"
    config = tiny_training.config(f"--run_dir={given}")
    with remote_run.working_copy(config) as (local, run):
        directory = RunDirectory(local, store=run)
        assert directory.path == run.path
        directory.begin()
        directory.log("teacher", 1, {"loss": 1.0})
        with (
            pytest.raises(OSError, match=rf"{given} is in use: process \d+ of "),
            remote_run.working_copy(config),
        ):
            pass
    assert config_lib.from_flagfile(store / "run.flags") == config
    other = tiny_training.config(f"--run_dir={given}", "--seed=7")
    with (
        pytest.raises(ValueError, match=f"{given} holds a run of other flags: --seed"),
        remote_run.working_copy(other) as (local, run),
    ):
        RunDirectory(local, store=run)


def test_a_run_that_fails_leaves_what_it_has(store):
    config = tiny_training.config(f"--run_dir=file://{store}")
    with pytest.raises(Killed), remote_run.working_copy(config) as (_, run):
        _write(run.path, ["metrics.jsonl"])
        raise Killed
    assert list(_files(store)) == ["metrics.jsonl"]


@pytest.mark.parametrize("moment", ["pull", "last push"])
def test_sigterm_while_the_store_is_copied_lets_another_machine_go_on(
    store, machine, monkeypatch, moment
):
    config = tiny_training.config(f"--run_dir=file://{store}")
    store.mkdir()
    _write(store, ["run.flags"])

    def copy_until_signal(source, target):
        whole(source, target)
        if moment == "pull" or str(source).endswith("metrics.jsonl"):
            signal.raise_signal(signal.SIGTERM)

    whole = remote.copy
    # Unless it is caught, the signal is one that ends the process.
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody catches it"))
    try:
        with monkeypatch.context() as patch:
            patch.setattr(remote, "copy", copy_until_signal)
            with (
                pytest.raises(Interrupted) as stopped,
                remote_run.working_copy(config) as (_, run),
            ):
                _write(run.path, ["metrics.jsonl"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert not (store / exclusive.LOCK).exists()
    _forget(machine)
    with remote_run.working_copy(config) as (_, run):
        assert (run.path / "run.flags").exists()


def test_a_local_run_stays_where_it_is(tmp_path):
    config = tiny_training.config(f"--run_dir={tmp_path}")
    with remote_run.working_copy(config) as (local, run):
        assert local is config and run is None


def test_workers_need_a_folder_that_all_of_them_see():
    config = tiny_training.config(
        "--run_dir=s3://bucket/run", "--distribution=multi_worker"
    )
    with (
        pytest.raises(ValueError, match="s3://bucket/run is remote, and the workers"),
        remote_run.working_copy(config),
    ):
        pass


def test_finished_runs_are_read_without_their_checkpoints(store, tmp_path, machine):
    _write(store, ["run.flags", "students/a.keras", "state/a/step-1/state.index"])
    with remote_run.fetched(tmp_path, f"file://{store}") as (local, copy):
        assert local == tmp_path
        assert sorted(_files(pathlib.Path(copy))) == ["run.flags", "students/a.keras"]
    assert list(machine.iterdir()) == []
    missing = f"file://{tmp_path}/missing"
    with pytest.raises(OSError, match="g cannot be read"), remote_run.fetched(missing):
        pass
