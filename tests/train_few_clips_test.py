"""Runs of few labeled clips start from ImageNet weights, unless flags say otherwise."""

import json

import pytest
from absl import flags

from kd_keras.data.records import data_set as stored_data_set
from kd_keras.data.records import shards
from kd_keras.data.segments import Segment
from tests.indexes import make_index
from train import few_clips
from train.flags import config as config_lib
from train.loop import guards

_FILLED_IN = {
    "backbone": "tsm_lite",
    "weights": "imagenet",
    "width": 1.0,
    "batch_norm_momentum": 0.999,
    "freeze_batch_norm": True,
    "pretrained_rate": 0.3,
    "image_size": 64,
    "mixup": 0.5,
    "teacher_steps": 400,
    "student_steps": 400,
    "validate_every": 50,
    "keep": "best",
}


def _table(folder, labeled=3, part="val"):
    """Annotations of so many labeled training clips, and of others."""
    rows = [f"a{number}.mp4,0,1,run,train" for number in range(labeled)]
    rows += ["b.mp4,0,1,,train", f"c.mp4,0,1,run,{part}"]
    path = folder / "actions.csv"
    path.write_text("\n".join(["video,start,end,label,split", *rows]) + "\n")
    return path


def _fitted(*arguments):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["train.main", "--run_dir=run", *arguments])
    config = config_lib.from_flags(values)
    fitted = few_clips.fitted(config, values)
    before, after = map(config_lib.as_flags, (config, fitted))
    return {name: after[name] for name in after if after[name] != before[name]}


def test_few_clips_start_from_imagenet_weights_and_the_run_says_so(tmp_path, capsys):
    path = _table(tmp_path)
    changed = _fitted(f"--annotations={path}")
    # What was so before is not among the changes.
    assert changed == {k: v for k, v in _FILLED_IN.items() if k != "image_size"}
    printed = capsys.readouterr().out
    assert "About 3 labeled training clips are few" in printed
    assert "--backbone=tsm_lite --weights=imagenet" in printed


def test_validation_clips_choose_the_weights_if_there_are_any(tmp_path):
    path = _table(tmp_path, part="test")
    assert "keep" not in _fitted(f"--annotations={path}")
    assert _fitted(f"--annotations={path}", "--holdout=0.1")["keep"] == "best"


def test_targets_that_are_kept_know_no_mixtures(tmp_path):
    kept = ("--teacher_cache=memory", "--views=2")
    assert "mixup" not in _fitted(f"--annotations={_table(tmp_path)}", *kept)


def test_flags_that_are_given_stay(tmp_path, capsys):
    given = ("--teacher_steps=7", "--student_steps=9", "--image_size=96")
    changed = _fitted(f"--annotations={_table(tmp_path)}", *given)
    assert changed.keys() == _FILLED_IN.keys() - {
        "teacher_steps",
        "student_steps",
        "image_size",
    }
    assert "--teacher_steps" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "flag",
    [
        # The default in so many words.
        "--backbone=i3d",
        "--width=0.125",
        "--weights=somewhere",
        # Of no run, so nothing tells what it is.
        "--teacher=teacher.keras",
        "--feature_layer=Mixed_5c",
        "--freeze_until=Mixed_4f",
        "--modality=flow",
        "--dataset=demo",
    ],
)
def test_whoever_says_what_the_networks_are_gets_them(flag, tmp_path, capsys):
    assert _fitted(f"--annotations={_table(tmp_path)}", flag) == {}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("of_teacher", "are_same"),
    [
        ("--backbone=tsm_lite\n--weights=imagenet\n", True),
        ("--backbone=tsm_lite\n", False),
        ("--backbone=i3d\n--weights=imagenet\n", False),
        ("--no_such_flag\n", False),
    ],
)
def test_a_teacher_of_a_run_with_these_defaults_has_such_students(
    of_teacher, are_same, tmp_path
):
    (tmp_path / "run.flags").write_text(of_teacher)
    teacher = f"--teacher={tmp_path / 'teacher.keras'}"
    changed = _fitted(f"--annotations={_table(tmp_path)}", teacher)
    assert changed == (
        {} if not are_same else _fitted(f"--annotations={_table(tmp_path)}")
    )


def test_prepared_clips_are_counted_without_the_annotations(tmp_path):
    arguments = ("--dataset=csv", f"--records={tmp_path}")
    with pytest.raises(ValueError, match="nothing was prepared there"):
        _fitted(*arguments)
    segments = [Segment("a", s, s + 1.0, "run") for s in range(3)]
    segments += [Segment("a", 5.0, 6.0, None), Segment("v", 1.0, 2.0, "run")]
    index = make_index(segments, {"a": 9.0, "v": 9.0}, val=["v"])
    (tmp_path / stored_data_set.FILE).write_bytes(stored_data_set.to_json(index))
    index_file = {"format_version": shards.FORMAT_VERSION, "complete": True}
    index_file |= {"made_from": {}, "shards": [], "remake": ""}
    (tmp_path / shards.INDEX).write_text(json.dumps(index_file))
    changed = _fitted(*arguments, "--annotations=/nowhere/actions.csv")
    assert changed == _fitted(*arguments) and changed["keep"] == "best"
    many = [Segment("a", s, s + 1.0, "run") for s in range(guards.FEW_CLIPS)]
    index = make_index(many, {"a": 9.0 + len(many)})
    (tmp_path / stored_data_set.FILE).write_bytes(stored_data_set.to_json(index))
    assert _fitted(*arguments) == {}


@pytest.mark.parametrize(
    ("labeled", "arguments", "is_few"),
    [
        (guards.FEW_CLIPS - 1, (), True),
        (guards.FEW_CLIPS, (), False),
        (guards.FEW_CLIPS, ("--labeled_fraction=0.5",), True),
        (guards.FEW_CLIPS, ("--holdout=0.1",), True),
        (2 * guards.FEW_CLIPS, ("--labeled_fraction=0.5",), False),
    ],
)
def test_labels_of_training_clips_are_counted(labeled, arguments, is_few, tmp_path):
    changed = _fitted(f"--annotations={_table(tmp_path, labeled)}", *arguments)
    assert bool(changed) == is_few


def test_without_the_package_of_the_weights_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(few_clips, "MODULE", "not_installed_anywhere")
    assert _fitted(f"--annotations={_table(tmp_path)}") == {}


def test_a_table_that_cannot_be_read_is_an_error(tmp_path):
    path = tmp_path / "actions.csv"
    path.write_text("video,start\n")
    with pytest.raises(ValueError, match="actions.csv.*label"):
        _fitted(f"--annotations={path}")
