"""Real frames and flow of EPIC-KITCHENS: prepared, checked and trained on."""

import json
import pathlib
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from kd_keras.data.readers import epic_kitchens
from kd_keras.data.readers.epic_annotations import Row
from tests import small_run
from train import prepare as prepare_lib
from train import submit
from train.flags import config as config_lib
from train.run import run_experiment

_RELEASE = pathlib.Path(__file__).parents[2] / "shared/data/epic_kitchens_55"
_TAR = "train/P01/P01_01.tar"

pytestmark = pytest.mark.skipif(
    not _RELEASE.is_dir(), reason="the sample of EPIC-KITCHENS is not here"
)

# Segments within the 3.3 s of the sample; the verbs are take, put and open, the nouns
# pan, plate and cupboard. Validation alone puts a cupboard.
_LABELS = """\
uid,participant_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class
1,P01,P01_01,00:00:01.40,00:00:02.00,0,1
2,P01,P01_01,00:00:01.90,00:00:02.60,1,4
3,P01,P01_01,00:00:02.50,00:00:03.20,2,8
4,P26,P26_01,00:00:01.50,00:00:02.10,0,1
5,P26,P26_01,00:00:02.40,00:00:03.10,1,8
"""
_TESTS = {
    "s1": "uid,participant_id,video_id,start_timestamp,stop_timestamp\n"
    "11,P01,P01_01,00:00:02.10,00:00:02.60\n12,P01,P01_01,00:00:02.90,00:00:03.10\n",
    "s2": "uid,participant_id,video_id,start_timestamp,stop_timestamp\n"
    "13,P26,P26_01,00:00:02.50,00:00:02.70\n14,P99,P99_01,00:00:02.50,00:00:02.70\n",
}
_MANY_SHOT = ("many_shot_verbs", "many_shot_nouns", "many_shot_actions")
_VIDEOS = """\
video,resolution,duration,fps
P01_01,1920x1080,3.33,59.94
P26_01,1920x1080,3.33,59.94
"""


@pytest.fixture(scope="module")
def kitchens(tmp_path_factory):
    """The sample as a kitchen that trains and one that validates, tars and unpacked."""
    roots = {}
    for packing in ("tars", "folders"):
        root = roots[packing] = tmp_path_factory.mktemp(packing)
        (root / "annotations").mkdir()
        (root / "annotations/EPIC_train_action_labels.csv").write_text(_LABELS)
        (root / "annotations/EPIC_video_info.csv").write_text(_VIDEOS)
        for file in ("verb_classes", "noun_classes", *_MANY_SHOT):
            shutil.copy(_RELEASE / f"EPIC_{file}.csv", root / "annotations")
        for part, text in _TESTS.items():
            (root / f"annotations/EPIC_test_{part}_timestamps.csv").write_text(text)
        for modality in ("rgb", "flow"):
            sample = _RELEASE / "sample_frames" / modality / _TAR
            for name in ("P01_01", "P26_01"):
                path = root / modality / "train" / name[:3] / name
                path.parent.mkdir(parents=True)
                if packing == "tars":
                    shutil.copy(sample, f"{path}.tar")
                else:
                    with tarfile.open(sample) as tar:
                        tar.extractall(path, filter="data")
    return roots


def _config(root, run_dir, modality, *more):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(
        [
            "train.main",
            "--dataset=epic_kitchens",
            f"--data_root={root}",
            f"--run_dir={run_dir}",
            f"--modality={modality}",
            # The sample keeps every second frame of the release, with a flow for each.
            "--media_frame_rate=30",
            "--flow_frame_rate=30",
            "--num_frames=9",
            *small_run.SMALLEST_NETWORK,
            "--unlabeled_pairs=4",
            "--unlabeled_rule=anywhere",
            "--batch_size=2",
            "--teacher_steps=2",
            "--student_steps=2",
            "--validate_every=2",
            "--noexport",
            *more,
        ]
    )
    return config_lib.from_flags(values)


@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_the_sample_is_prepared_and_checked(kitchens, tmp_path, modality):
    shards = {}
    for packing, root in kitchens.items():
        output = tmp_path / packing
        prepare_lib.prepare(
            _config(root, tmp_path / "none", modality), small_run.preparation(output)
        )
        shards[packing] = [p.read_bytes() for p in sorted(output.glob("*.tfrecord"))]
    # Three labeled, four unlabeled and two evaluated pairs of two clips each.
    assert shards["tars"] == shards["folders"] and len(shards["tars"]) == 1
    with pytest.raises(ValueError, match="3 problems were found"):
        prepare_lib.prepare(
            _config(kitchens["tars"], tmp_path / "none", modality),
            small_run.preparation(tmp_path / "check", "--check"),
        )
    found = json.loads((tmp_path / "check/check.json").read_text())
    # The two kitchens show the same, and are not the whole release.
    assert [(leak["first"], leak["second"]) for leak in found["leaks"]] == [
        ("P01_01", "P26_01")
    ]
    assert "train has 3 labeled segments, 23191 are published" in found["problems"]
    if modality == "flow":
        assert found["flow"]["num_stored"] == 2
        assert found["flow"]["zero_level"] == 128
        assert min(found["flow"]["agreement"]) > 0.2


def test_a_run_learns_from_the_flow_of_its_records(kitchens, tmp_path):
    config = _config(kitchens["tars"], tmp_path / "none", "flow")
    prepare_lib.prepare(config, small_run.preparation(tmp_path / "records"))
    records = f"--records={tmp_path / 'records'}"
    results = run_experiment(_config("gone", tmp_path / "run", "flow", records))
    assert results["num_train_labeled"] == 3 and results["num_evaluated"] == 2
    assert results["num_train_unlabeled"] == 4
    assert 0 <= results["student"]["top1"] <= 1


_ACTIONS = ["take pan", "put plate", "put cupboard", "open cupboard"]


@pytest.fixture(scope="module")
def actions_run(kitchens, tmp_path_factory):
    """A finished run of actions: its results and its configuration."""
    config = _config(
        kitchens["tars"],
        tmp_path_factory.mktemp("actions"),
        "rgb",
        "--epic_target=action",
        "--export",
        "--students=attention",
        *small_run.SMALLEST_NETWORK,
    )
    return run_experiment(config), config


def test_actions_are_distilled_scored_and_served_by_name(actions_run):
    results, config = actions_run
    student = results["student"]
    assert results["classes"] == _ACTIONS
    assert results["num_evaluated"] == 2
    # "put cupboard" has no training segment; with fewer than six classes all are found.
    teacher = results["teacher"]["future"]
    for scores in (student, student["verb"], student["noun"], teacher):
        assert scores["mean_top5_recall"] == scores["top5"] == 1
        assert 0 <= scores["top1"] <= 1
    assert student["verb"]["many_shot"] == {"mean_top5_recall": 1.0}
    served = pathlib.Path(config.run.run_dir, results["export"])
    frames = np.random.default_rng(0).integers(0, 256, (2, 9, 16, 16, 3), "uint8")
    loaded = tf.saved_model.load(str(served))
    answer = loaded.signatures["serving_default"](frames=tf.constant(frames))
    answer = {name: value.numpy() for name, value in answer.items()}
    for row in range(2):
        by_name = dict(zip(_ACTIONS, answer["probabilities"][row], strict=True))
        best = max(by_name, key=by_name.get)
        assert answer["top_k_classes"][row][0].decode() == best
        for place, kind in enumerate(("verb", "noun")):
            sums = {}
            for name, probability in by_name.items():
                word = name.split()[place]
                sums[word] = sums.get(word, 0) + probability
            found = {
                word.decode(): probability
                for word, probability in zip(
                    answer[f"top_k_{kind}s"][row],
                    answer[f"top_k_{kind}_probabilities"][row],
                    strict=True,
                )
            }
            assert found == pytest.approx(sums, rel=1e-5)
            assert [*found.values()] == sorted(found.values(), reverse=True)


def test_a_challenge_file_scores_every_test_segment(actions_run, kitchens, capsys):
    _, config = actions_run
    submit.run_submission(config)
    files = {}
    for part in ("seen", "unseen"):
        path = pathlib.Path(config.run.run_dir, f"challenge/{part}.json")
        files[part] = json.loads(path.read_text())
    assert [*files["seen"]["results"]] == ["11", "12"]
    assert [*files["unseen"]["results"]] == ["13", "14"]
    assert (
        "1 of 2 segments of EPIC_test_s2_timestamps.csv cannot"
        in capsys.readouterr().err
    )
    for file in files.values():
        assert (file["version"], file["challenge"]) == ("0.1", "action_anticipation")
        assert [file[f"sls_{level}"] for level in ("pt", "tl", "td")] == [0, 4, 3]
        for uid, scores in file["results"].items():
            assert [*scores["verb"]] == [str(number) for number in range(125)]
            assert [*scores["noun"]] == [str(number) for number in range(352)]
            assert set(scores["action"]) == {"0,1", "1,4", "1,8", "2,8"}
            total = 0 if uid == "14" else 1
            for kind in ("verb", "noun", "action"):
                assert sum(scores[kind].values()) == pytest.approx(total, abs=1e-4)
            cupboard = scores["action"]["1,8"] + scores["action"]["2,8"]
            assert scores["noun"]["8"] == pytest.approx(cupboard, abs=1e-5)


def test_a_student_of_flow_is_shown_the_stored_flow_of_the_test_part(kitchens):
    root = kitchens["tars"]
    found = {}
    for modality in ("rgb", "flow"):
        index = submit._open(
            _config(root, "none", modality).data,
            epic_kitchens,
            root / "annotations",
            [Row(2, "11", "P01", "P01_01", 2.1, 2.6, None, None)],
        )
        found[modality] = index.videos["P01_01"].flow_path
    assert found == {"rgb": None, "flow": root / "flow" / _TAR}


def test_what_cannot_take_part_is_named(actions_run, kitchens, tmp_path):
    _, config = actions_run
    with pytest.raises(ValueError, match="needs a trained student. Found no"):
        submit.run_submission(_config(kitchens["tars"], tmp_path, "rgb"))
    run_dir = config.run.run_dir
    with pytest.raises(ValueError, match="--supervision_levels are three numbers"):
        submit.run_submission(
            _config(kitchens["tars"], run_dir, "rgb", "--supervision_levels=2,4")
        )
    for weights, level in ((), 0), (("--weights=imagenet",), 1), (("--weights=a",), 2):
        found = submit._levels(_config(kitchens["tars"], run_dir, "rgb", *weights))
        assert found.pretraining == level
    for file, key, value, message in (
        ("student.json", "lead_time_s", 0.5, "trained with --lead_time_s=0.5"),
        ("student.json", "are_actions", False, "train with --epic_target=action"),
    ):
        spec = json.loads(pathlib.Path(run_dir, file).read_text())
        shutil.copytree(run_dir, tmp_path / key)
        pathlib.Path(tmp_path / key, file).write_text(json.dumps(spec | {key: value}))
        with pytest.raises(ValueError, match=message):
            submit.run_submission(_config(kitchens["tars"], tmp_path / key, "rgb"))
