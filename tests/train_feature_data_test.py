"""A run on features: from a CSV and arrays to results."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
from absl import flags

from export import student_file
from tests import small_run
from train import batches, networks, submit
from train import experiment as experiment_lib
from train import prepare as prepare_lib
from train.flags import config as config_lib
from train.report import section
from train.run import run_experiment


def _write_features(folder, videos=24):
    """Vectors of noise; one channel in the middle of a video tells its class."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(videos):
        features, label = random.standard_normal((20, 6)), number % 2
        features[4:12, label] += 4
        name = f"v{number}"
        np.save(folder / f"{name}.npy", features.astype("f2"))
        part = "val" if number % 4 > 1 else "train"
        hidden = part == "train" and number % 3 == 1
        rows.append([name, 0, 5, "" if hidden else ("open", "shut")[label], part])
    with open(folder / "actions.csv", "w", newline="") as file:
        csv.writer(file).writerows([["video", "start", "end", "label", "split"], *rows])


def _config(folder, run_dir, *more):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(
        [
            "train.main",
            "--dataset=features",
            "--backbone=temporal",
            f"--annotations={folder / 'actions.csv'}",
            f"--feature_root={folder}",
            "--feature_rate=4",
            f"--run_dir={run_dir}",
            "--observed_fraction=0.5",
            "--num_frames=10",
            "--width=0.03",
            "--batch_size=8",
            "--teacher_steps=60",
            "--student_steps=20",
            "--students=labels,attention",
            "--validate_every=60",
            *more,
        ]
    )
    return config_lib.from_flags(values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    _write_features(folder)
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("run")
    return run_dir, run_experiment(_config(folder, run_dir))


def test_a_run_learns_from_features(finished):
    run_dir, results = finished
    assert results["teacher"]["future"]["top1"] == 1.0
    assert results["student"]["top1"] > 0.9
    assert (results["num_train_labeled"], results["num_evaluated"]) == (8, 12)
    student = keras.saving.load_model(run_dir / "student.keras")
    assert student.input.shape == (None, 10, 1, 1, 6)
    said = json.loads((run_dir / "student.json").read_text())
    assert said["modality"] == "features"
    assert (said["channels"], said["height"], said["num_frames"]) == (6, 1, 10)
    spec = student_file.load_spec(run_dir / "student.keras")
    assert spec.clip_format.input_shape == student.input.shape[1:]
    assert results["export"] == "export/1"
    assert (run_dir / "export" / "1" / "saved_model.pb").is_file()


def test_a_report_says_why_it_shows_no_clips_of_features(finished, tmp_path):
    run_dir, results = finished
    found = section.of_run(run_dir, "run", tmp_path)
    top1 = [row.top1.mean for row in found.rows]
    assert results["student"]["top1"] in [pytest.approx(value) for value in top1]
    assert "curves" in found.charts
    assert found.notes == [
        "The networks see features, which are no pictures, so no clips are shown."
    ]


def test_a_feature_clip_is_seen_as_it_is(folder, tmp_path):
    experiment = experiment_lib.open_experiment(_config(folder, tmp_path))
    pair = experiment.data.labeled[0]
    stream = batches.training_batches(experiment, [pair] * 8)
    batch = next(iter(stream.map(batches.normalizer(experiment))))
    stored = np.load(folder / f"{pair.future.video}.npy").astype("f4")
    # Ten parts of 20 steps, and of the first 10.
    for field, steps in (("future", stored[1::2]), ("observed", stored[:10])):
        for row in batch[field].numpy():
            np.testing.assert_array_equal(row[:, 0, 0], steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone=i3d"], "--backbone=temporal need each other"),
        (["--teacher_backbone=tsn"], "and the same --teacher_backbone"),
        (["--dataset=csv"], "--backbone=temporal need each other"),
        (["--modality=flow"], "--modality, --cache=disk and --records are for videos"),
        (["--cache=disk"], "--cache=disk and --records are for videos"),
    ],
)
def test_flags_that_do_not_fit_features_are_refused(arguments, message, tmp_path):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
        _config(tmp_path, tmp_path, *arguments)


def test_says_which_flag_is_missing(folder, tmp_path):
    config = _config(folder, tmp_path)
    data = dataclasses.replace(config.data, feature_rate=None)
    with pytest.raises(ValueError, match="features needs --feature_rate"):
        experiment_lib.open_experiment(dataclasses.replace(config, data=data))


def test_a_student_can_be_trained_behind_a_stored_layer(folder, tmp_path):
    config = _config(folder, tmp_path)
    network = networks.build_student(config, 2)
    stem = networks.stem(network, networks.stored_layer(config))
    tail = networks.tail(network, networks.stored_layer(config))
    clips = np.random.default_rng(0).standard_normal((2, 10, 1, 1, 6)).astype("f4")
    np.testing.assert_allclose(tail(stem(clips)), network(clips), rtol=1e-5, atol=1e-6)


def test_a_student_of_features_cannot_take_part_in_a_challenge(finished, tmp_path):
    spec = student_file.load_spec(finished[0] / "student.keras")
    spec = dataclasses.replace(
        spec, classes=("open door", "shut door"), are_actions=True, lead_time_s=1.0
    )
    (tmp_path / "student.keras").touch()
    (tmp_path / "student.json").write_text(student_file.to_json(spec))
    config = _config(tmp_path, tmp_path, "--data_root=.")
    data = dataclasses.replace(config.data, dataset="epic_kitchens")
    with pytest.raises(ValueError, match="sees features of another network"):
        submit.run_submission(dataclasses.replace(config, data=data))


@pytest.mark.parametrize("arguments", [["--check"], ["--kind=clips"]])
def test_there_are_no_videos_to_prepare(arguments, folder, tmp_path):
    preparation = small_run.preparation(tmp_path, "--kind=features", *arguments)
    with pytest.raises(ValueError, match="has no videos to look at"):
        prepare_lib.prepare(_config(folder, tmp_path), preparation)
