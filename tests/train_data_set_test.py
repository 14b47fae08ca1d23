"""The same command after its annotations or videos have changed is refused."""

import os
import shutil
import tarfile

import pytest

from kd_keras.data.records import shards
from kd_keras.data.records.changes import changes
from kd_keras.data.segments import Index
from kd_keras.data.video.info import Video
from kd_keras.data.video.reading import probe
from tests import numbered_video, small_run
from train import data as data_lib
from train import data_set
from train import prepare as prepare_lib
from train.experiment import begin, open_experiment
from train.flags.data import Data


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return small_run.write_data_set(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data")


def _experiment(folder, *flags):
    return open_experiment(small_run.config(folder, folder.parent / "run", *flags))


def _begun(folder, *flags):
    experiment = _experiment(folder, *flags)
    begin(experiment)
    experiment.directory.log("teacher", 1, {"loss": 1.0})


def _relabel(folder):
    """One action of v0 gets another label, and v5 a third action."""
    path = folder / "actions.csv"
    text = path.read_text().replace("v0.mp4,1.4,2.4,open", "v0.mp4,1.4,2.4,shut")
    path.write_text(text + "v5.mp4,3.7,4.2,open,train\n")


_CHANGED = r"rows of 2 videos \(v0.mp4: 1 with another label; v5.mp4: 1 added\)"


def test_changed_annotations_are_refused_and_named(folder):
    before = (folder / "actions.csv").read_text()
    _begun(folder)
    _relabel(folder)
    for task in ("all", "student", "evaluate"):
        with pytest.raises(
            ValueError,
            match=f"holds a run of another data set.*{_CHANGED}. Undo .*--run_dir",
        ):
            _experiment(folder, f"--task={task}")
    rows = before.splitlines(keepends=True)
    (folder / "actions.csv").write_text("".join(rows[:1] + rows[:0:-1]))
    _experiment(folder)


def test_a_run_without_work_or_of_before_takes_what_is_there(folder):
    begin(_experiment(folder))
    _relabel(folder)
    _begun(folder)
    kept = folder.parent / "run" / data_set.FILE
    kept.unlink()
    small = (folder / "actions.csv").read_text().replace("shut,train", "open,train", 1)
    (folder / "actions.csv").write_text(small)
    begin(_experiment(folder))
    assert kept.exists()
    _relabel(folder)
    with pytest.raises(ValueError, match="of another data set"):
        _experiment(folder)


def test_another_video_under_the_same_name_is_refused_and_a_copy_is_not(folder):
    _begun(folder)
    for path in folder.glob("*.mp4"):
        os.utime(path, (0, 0))
    _experiment(folder)
    numbered_video.write(folder / "v2.mp4", 42, frame_rate=10, g="3")
    with pytest.raises(ValueError, match=r"1 video of another content \(v2.mp4\)"):
        _experiment(folder)


def test_a_folder_of_frames_that_were_written_over_is_another_content(tmp_path):
    clip = numbered_video.write_folder(tmp_path / "v", range(1, 10))
    video = Video("v", clip, "train", 25.0)

    def described():
        info = probe(video)
        index = Index(("a",), {"v": video}, {"v": 0.36}, (), {}, {"v": info})
        return data_set.describe(Data(dataset="jhmdb"), index)

    before = described()
    assert described() == before
    numbered_video.write_folder(clip, [9], suffix=".png")
    assert described() == before
    shutil.copy(clip / "00001.png", clip / "00009.png")
    assert changes(before, described()) == ["1 video of another content (v)"]
    (clip / "00009.png").unlink()
    (clip / "00009.png").symlink_to("gone")
    assert changes(before, described()) == []


@pytest.mark.parametrize("form", ["folders", "tar"])
def test_other_stored_flow_is_refused_and_a_copy_is_not(folder, form):
    root = folder.parent / "flow"

    def store(name, first):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
        numbers = range(first, first + 39)
        for channel in "uv":
            numbered_video.write_folder(root / name / channel, numbers)
        if form == "tar":
            with tarfile.open(root / f"{name}.tar", "w") as tar:
                tar.add(root / name, name)
            shutil.rmtree(root / name)

    flags = ("--modality=flow", f"--flow_root={root}", "--flow_frame_rate=10")
    store("v0", 1)
    store("v1", 1)
    _begun(folder, *flags)
    for path in root.rglob("*.*"):
        os.utime(path, (0, 0))
    _experiment(folder, *flags)
    store("v1", 2)
    with pytest.raises(ValueError, match=r"1 video of other stored flow \(v1.mp4\)"):
        _experiment(folder, *flags)
    # What is not stored is computed, which is other flow, too.
    (root / "v0.tar").unlink() if form == "tar" else shutil.rmtree(root / "v0")
    with pytest.raises(ValueError, match=r"2 videos of other stored flow"):
        _experiment(folder, *flags)


def test_a_changed_list_of_unlabeled_pairs_is_refused(folder):
    _begun(folder)
    listed = shutil.copy(folder.parent / "run/pairs_unlabeled.csv", folder / "list.csv")
    shutil.rmtree(folder.parent / "run")
    flag = f"--unlabeled_list={listed}"
    _begun(folder, flag)
    rows = (folder / "list.csv").read_text().splitlines(keepends=True)
    (folder / "list.csv").write_text("".join(rows[:-1]))
    with pytest.raises(ValueError, match="--unlabeled_list has another content"):
        _experiment(folder, flag)


@pytest.mark.parametrize(
    ("flag", "name", "file"),
    [
        ("teacher", "teacher.keras", "teacher.keras"),
        ("weights", "i3d.weights.h5", "i3d.weights.h5"),
        ("weights", "model.ckpt", "model.ckpt.index"),
    ],
)
def test_another_network_under_the_same_name_is_refused(
    folder, tmp_path, flag, name, file
):
    path, given = tmp_path / file, f"--{flag}={tmp_path / name}"
    path.write_bytes(b"one")
    _begun(folder, given)
    shutil.copyfile(path, tmp_path / "copy")
    os.replace(tmp_path / "copy", path)
    _experiment(folder, given)
    path.write_bytes(b"two")
    with pytest.raises(
        ValueError, match=f"a run of other networks.*--{flag} has another content"
    ):
        _experiment(folder, given)


def test_prepared_clips_are_held_to_their_annotations(folder, tmp_path):
    def prepare():
        prepare_lib.prepare(
            small_run.config(folder, tmp_path / "none"),
            small_run.preparation(tmp_path / "clips"),
        )

    prepare()
    flag = f"--records={tmp_path / 'clips'}"
    config = small_run.config(folder, tmp_path / "other", flag)
    data_lib.load(config, tmp_path / "other")
    _relabel(folder)
    with pytest.raises(
        shards.StaleRecords, match=f"clips of another data set.*{_CHANGED}"
    ):
        prepare()
    with pytest.raises(
        shards.StaleRecords, match=f"clips of other annotations than .*{_CHANGED}"
    ):
        data_lib.load(config, tmp_path / "other")
    # Where they are not given the records are all there is.
    (folder / "actions.csv").unlink()
    data_lib.load(config, tmp_path / "other")
