"""Prepared data end to end: training from it equals training from the videos."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kd_keras.data.batches.fields import FUTURE, INDEX, LABEL, LABELED, OBSERVED
from kd_keras.data.records import shards
from tests import small_run, untrained_run
from train import experiment as experiment_lib
from train import prepare as prepare_lib
from train.batches import training_batches
from train.student import load_or_train_student
from train.teacher import load_or_train_teacher

_NETWORK = ("--backbone=tsn_small", "--segments=2", "--width=0.1")
_VIEWS = (
    *_NETWORK,
    "--views=3",
    "--stored_layer=conv3_block1_out",
    # A weight that follows the gradients follows what float16 does to them.
    "--feature_weight=0.1",
    "--students=attention",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_run.write_data_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def teacher(folder, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("teacher")
    experiment = experiment_lib.open_experiment(
        small_run.config(folder, run_dir, *_NETWORK)
    )
    untrained_run.save_teacher(experiment, run_dir / "teacher.keras")
    return run_dir / "teacher.keras"


@pytest.fixture(scope="module")
def prepared_clips(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("clips")
    prepare_lib.prepare(
        small_run.config(folder, output.parent / "none"),
        small_run.preparation(output, "--shard_records=5", "--jpeg_quality=100"),
    )
    return output


def _prepare_features(folder, teacher, output, *more, flags=()):
    return prepare_lib.prepare(
        small_run.config(
            folder, output.parent, *_VIEWS, f"--teacher={teacher}", *flags
        ),
        small_run.preparation(output, "--kind=features", "--shard_records=4", *more),
    )


@pytest.fixture(scope="module")
def features(folder, teacher, tmp_path_factory):
    folders = {}
    for precision in ("float16", "float32"):
        folders[precision] = tmp_path_factory.mktemp(precision)
        more = f"--precision={precision}"
        _prepare_features(folder, teacher, folders[precision], more)
    return folders


def _train(folder, run_dir, teacher, *more):
    """The trained student and what was logged."""
    config = small_run.config(folder, run_dir, *_VIEWS, f"--teacher={teacher}", *more)
    experiment = experiment_lib.open_experiment(config)
    student = load_or_train_student(
        experiment, "attention", load_or_train_teacher(experiment)
    )
    return student, experiment.directory.history()


@pytest.fixture(scope="module")
def from_videos(folder, teacher, tmp_path_factory):
    return _train(folder, tmp_path_factory.mktemp("videos"), teacher)


# The largest difference as a fraction of the largest movement of a weight.
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("float16", 5e-3)])
def test_training_from_features_equals_training_from_videos(
    folder, teacher, features, from_videos, tmp_path, precision, tolerance
):
    features = features[precision]
    found = _train(folder, tmp_path / "run", teacher, f"--features={features}")
    weights = [
        model.get_weights()
        for model in (keras.saving.load_model(teacher), from_videos[0], found[0])
    ]
    moved, differs = 0.0, 0.0
    for before, one, other in zip(*weights, strict=True):
        moved = max(moved, np.abs(one - before).max())
        differs = max(differs, np.abs(one - other).max())
    assert moved > 1e-3
    assert differs < tolerance * moved
    assert len(found[1]) == len(from_videos[1]) == 1
    for term in ("loss", "label_loss", "pseudo_label_loss", "feature_loss"):
        expected = from_videos[1][0][term]
        assert found[1][0][term] == pytest.approx(expected, rel=tolerance), term


def test_what_is_before_the_layer_stays_as_it_starts(teacher, from_videos):
    before = keras.saving.load_model(teacher)
    student = from_videos[0]
    for name in ("conv1_conv", "conv3_block1_2_bn"):
        for one, other in zip(
            before.get_layer(name).get_weights(),
            student.get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_features_need_the_teacher_that_they_are_of(folder, features, tmp_path):
    flags = (*_VIEWS, f"--features={features['float32']}")
    config = small_run.config(folder, tmp_path / "run", *flags)
    experiment = experiment_lib.open_experiment(config)
    with pytest.raises(ValueError, match="Name that teacher by --teacher=FILE"):
        load_or_train_teacher(experiment)


def test_stale_features_are_refused_by_name(folder, teacher, features, tmp_path):
    features = features["float16"]
    with pytest.raises(shards.StaleRecords, match=r"--flip was 0.5, now 0.25"):
        _train(folder, tmp_path / "a", teacher, f"--features={features}", "--flip=0.25")
    other = keras.saving.load_model(teacher)
    other.set_weights([weight + 1e-3 for weight in other.get_weights()])
    other.save(tmp_path / "other.keras")
    with pytest.raises(shards.StaleRecords, match="weights of the teacher was"):
        _train(
            folder,
            tmp_path / "b",
            tmp_path / "other.keras",
            f"--features={features}",
        )
    with pytest.raises(ValueError, match=r"lacks \d+ of \d+ views"):
        _train(folder, tmp_path / "c", teacher, f"--features={features}", "--views=4")


def test_batches_from_records_are_those_from_videos(folder, prepared_clips, tmp_path):
    batches = {}
    for name, more in (
        ("videos", ()),
        ("records", (f"--records={prepared_clips}", "--video_root=gone")),
    ):
        config = small_run.config(folder, tmp_path / name, *more)
        experiment = experiment_lib.open_experiment(config)
        pairs = [*experiment.data.labeled, *experiment.data.unlabeled]
        assert len(experiment.data.evaluated) == 2
        batches[name] = list(
            training_batches(experiment, pairs, 2).take(3).as_numpy_iterator()
        )
    for one, other in zip(batches["videos"], batches["records"], strict=True):
        for field in (INDEX, LABEL, LABELED):
            np.testing.assert_array_equal(one[field], other[field])
        for field in (OBSERVED, FUTURE):
            np.testing.assert_allclose(
                one[field].astype(int), other[field].astype(int), rtol=0, atol=6
            )


_FLOW = ("--modality=flow", "--flow_method=dis")


def test_flow_is_prepared_once_and_is_the_same(folder, tmp_path):
    prepare_lib.prepare(
        small_run.config(folder, tmp_path / "none", *_FLOW),
        small_run.preparation(tmp_path / "clips"),
    )
    networks_, batches, teacher = {}, {}, tmp_path / "videos" / "teacher.keras"
    for name, more in (
        ("videos", ()),
        ("records", (f"--records={tmp_path / 'clips'}", "--video_root=gone")),
    ):
        more = (*_FLOW, *_VIEWS, *more, f"--teacher={teacher}", "--student_steps=2")
        experiment = experiment_lib.open_experiment(
            small_run.config(folder, tmp_path / name, *more)
        )
        if name == "videos":
            untrained_run.save_teacher(experiment, teacher)
        batch = next(iter(training_batches(experiment, experiment.data.for_students)))
        batches[name] = batch[OBSERVED].numpy()
        student = load_or_train_student(
            experiment, "attention", load_or_train_teacher(experiment)
        )
        networks_[name] = student.get_weights()
    assert batches["videos"].shape[-1] == 2 and batches["videos"].std() > 0.05
    np.testing.assert_array_equal(batches["videos"], batches["records"])
    # Features of it, from the records that hold it.
    features = tmp_path / "features"
    records = f"--records={tmp_path / 'clips'}"
    _prepare_features(
        folder, teacher, features, "--precision=float32", flags=(*_FLOW, records)
    )
    student, _ = _train(
        folder,
        tmp_path / "features_run",
        teacher,
        *_FLOW,
        records,
        f"--features={features}",
        "--student_steps=2",
    )
    networks_["features"] = student.get_weights()
    before = keras.saving.load_model(teacher).get_weights()
    for name in ("records", "features"):
        moved, differs = 0.0, 0.0
        for start, one, other in zip(
            before, networks_["videos"], networks_[name], strict=True
        ):
            moved = max(moved, np.abs(one - start).max())
            differs = max(differs, np.abs(one - other).max())
        assert moved > 1e-3 and differs < 1e-5 * moved, name


def test_records_that_lack_clips_name_the_flags(folder, prepared_clips, tmp_path):
    config = small_run.config(
        folder, tmp_path / "a", f"--records={prepared_clips}", "--lead_time_s=0.2"
    )
    with pytest.raises(
        shards.StaleRecords, match=r"--lead_time_s was 0.4, now 0.2(?!;)"
    ):
        experiment_lib.open_experiment(config)
    config = small_run.config(
        folder, tmp_path / "c", f"--records={prepared_clips}", "--observed_fraction=0.2"
    )
    with pytest.raises(
        shards.StaleRecords, match="--observed_fraction was None, now 0.2"
    ):
        experiment_lib.open_experiment(config)
    config = small_run.config(
        folder, tmp_path / "b", f"--records={prepared_clips}", "--image_size=48"
    )
    with pytest.raises(shards.StaleRecords, match="image_size was 32, now 48"):
        experiment_lib.open_experiment(config)


def test_fewer_labels_train_from_the_same_records(folder, prepared_clips, tmp_path):
    config = small_run.config(
        folder, tmp_path, f"--records={prepared_clips}", "--labeled_fraction=0.4"
    )
    data = experiment_lib.open_experiment(config).data
    assert len(data.labeled) == 2 and len(data.unlabeled) > 4


def test_training_names_a_corrupt_shard_and_what_mends_it(
    folder, prepared_clips, tmp_path
):
    records = shutil.copytree(prepared_clips, tmp_path / "clips")
    path = max(records.glob("*.tfrecord"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "train.main",
            *small_run.arguments(folder, tmp_path / "run"),
            *_NETWORK,
            f"--records={records}",
            "--task=teacher",
        ],
        cwd=pathlib.Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (error,) = [x for x in done.stderr.splitlines() if x.startswith("Error: ")]
    assert f"{path} is corrupt: record " in error
    assert (
        f"python -m train.prepare --flagfile={records}/prepare.flags "
        f"--output={records} --verify"
    ) in error


def test_a_shard_that_the_service_reads_is_named_too(prepared_clips, tmp_path):
    records = shutil.copytree(prepared_clips, tmp_path / "clips")
    path = min(records.glob("*.tfrecord"))
    path.write_bytes(path.read_bytes()[:-5])
    error = tf.errors.DataLossError(None, None, "truncated record at 99")
    assert f"{path} is corrupt: it has" in shards.corruption(error, records)
    assert shards.corruption(error, None) is None
    assert shards.corruption(error, prepared_clips) is None


def test_the_flagfile_beside_the_data_repeats_it(prepared_clips):
    index = json.loads((prepared_clips / "index.json").read_text())
    assert "--flagfile={folder}/prepare.flags" in index["remake"]
    text = (prepared_clips / "prepare.flags").read_text()
    assert "--shard_records=5\n" in text
    assert not re.search(r"^--(output|no?verify|check)", text, re.MULTILINE)
