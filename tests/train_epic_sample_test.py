"""Real frames and flow of EPIC-KITCHENS: prepared, checked and trained on."""

import json
import pathlib
import shutil
import tarfile

import pytest
from absl import flags

from tests import small_run
from train import experiment
from train import prepare as prepare_lib
from train.flags import config as config_lib

_RELEASE = pathlib.Path(__file__).parents[2] / "shared/data/epic_kitchens_55"
_TAR = "train/P01/P01_01.tar"

pytestmark = pytest.mark.skipif(
    not _RELEASE.is_dir(), reason="the sample of EPIC-KITCHENS is not here"
)

# Segments within the 3.3 s of the sample; the verbs are take, put and open.
_LABELS = """\
uid,participant_id,video_id,start_timestamp,stop_timestamp,verb_class
1,P01,P01_01,00:00:01.40,00:00:02.00,0
2,P01,P01_01,00:00:01.90,00:00:02.60,1
3,P01,P01_01,00:00:02.50,00:00:03.20,2
4,P26,P26_01,00:00:01.50,00:00:02.10,0
5,P26,P26_01,00:00:02.40,00:00:03.10,1
"""
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
        shutil.copy(_RELEASE / "EPIC_verb_classes.csv", root / "annotations")
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
def test_sample_is_prepared_checked_and_trained_on(kitchens, tmp_path, modality):
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
    records = f"--records={tmp_path / 'tars'}"
    results = experiment.run_experiment(
        _config("gone", tmp_path / "run", modality, records)
    )
    assert results["num_train_labeled"] == 3 and results["num_evaluated"] == 2
    assert results["num_train_unlabeled"] == 4
    assert 0 <= results["student"]["top1"] <= 1
