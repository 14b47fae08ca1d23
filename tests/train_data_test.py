"""What a run is made of: data sets by flag, pairs, their lists, what is counted."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from absl import flags

from kd_keras.data import memory, pair_lists
from tests import small_run
from train import data as data_lib
from train import data_index
from train.evaluate import bigram_top1
from train.flags import config as config_lib
from train.flags import data as data_flags
from train.run_directory import RunDirectory

LABELS = (
    "uid,participant_id,video_id,start_timestamp,stop_timestamp,verb_class\n"
    "0,P01,P01_01,00:00:01.00,00:00:02.00,0\n"
    "1,P01,P01_01,00:00:10.00,00:00:12.00,1\n"
    "2,P01,P01_01,00:00:20.00,00:00:21.00,0\n"
    "3,P01,P01_01,00:00:30.00,00:00:33.00,1\n"
    "4,P26,P26_01,00:00:10.00,00:00:12.00,1\n"
    "5,P26,P26_01,00:00:20.00,00:00:22.00,0\n"
)


@pytest.fixture
def epic(tmp_path):
    files = {
        "annotations/EPIC_train_action_labels.csv": LABELS,
        "annotations/EPIC_verb_classes.csv": "verb_id,class_key\n0,take\n1,put\n",
        "annotations/EPIC_video_info.csv": "video,duration\nP01_01,60\nP26_01,60\n",
        "rgb/train/P01/P01_01.tar": "frames",
        "rgb/train/P26/P26_01.tar": "frames",
    }
    for name, text in files.items():
        path = tmp_path / "epic" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "epic"


@pytest.fixture
def load(tmp_path, epic):
    def load(*arguments):
        config = parse(
            "--dataset=epic_kitchens",
            f"--data_root={epic}",
            f"--run_dir={tmp_path / 'run'}",
            "--num_frames=30",
            *arguments,
        )
        (tmp_path / "run/run.json").unlink(missing_ok=True)
        directory = RunDirectory(config)
        data = data_lib.load(config, directory)
        data_lib.write_lists(config.data, data, directory)
        return data

    return load


def parse(*arguments):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["train.main", *arguments])
    return config_lib.from_flags(values)


def test_epic_kitchens_clips_hold_num_frames_at_frame_rate(load):
    data = load("--frame_rate=60")
    assert data.index.classes == ("take", "put")
    pair = data.labeled[1]
    assert (pair.observed.start_s, pair.observed.end_s) == (8.5, 9.0)
    assert (pair.future.start_s, pair.future.end_s) == (10.0, 10.5)
    assert data.eval_part == "val"
    assert data.loader.cache == "off"
    assert data.index.infos == {}
    whole = load("--future_s=0").labeled[1]
    assert (whole.observed.start_s, whole.future.end_s) == (8.0, 12.0)


def test_a_run_lists_its_pairs(load, epic, tmp_path):
    data = load("--unlabeled_rule=gaps", "--unlabeled_pairs=5", "--label_seed=3")
    assert (len(data.labeled), len(data.unlabeled), len(data.evaluated)) == (4, 5, 2)
    run = tmp_path / "run"
    index = data.index
    for name in ("labeled", "evaluated"):
        with (run / f"pairs_{name}.csv").open(newline="") as file:
            listed = [(row["uid"], row["label"]) for row in csv.DictReader(file)]
        pairs = getattr(data, name)
        assert listed == [(pair.uid, index.classes[pair.label]) for pair in pairs]
    assert pair_lists.read_unlabeled(run / "pairs_unlabeled.csv", index) == (
        data.unlabeled
    )
    with (run / "pairs_unlabeled.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["rule"], row["seed"]) for row in rows} == {("gaps", "3")}
    (run / "pairs_unlabeled.csv").rename(tmp_path / "list.csv")
    again = load(f"--unlabeled_list={tmp_path / 'list.csv'}")
    assert again.unlabeled == data.unlabeled
    for name in ("list.csv", "run/pairs_unlabeled.csv"):
        assert (tmp_path / name).read_text().count(",gaps,3\n") == 5


def test_footage_is_said_and_counted(load, capsys):
    data = load("--unlabeled_rule=anywhere", "--unlabeled_pairs=7")
    assert "of it in 5 gaps between labeled segments" in capsys.readouterr().out
    footage = data.summary["footage"]
    # 60 s by windows of 1 s observed, 1 s between and 1 s of future.
    assert (footage["num_disjoint"], footage["num_pairs"]) == (20, 7)
    assert json.loads(json.dumps(data.summary)) == data.summary
    alone = load("--nounlabeled_gaps", "--labeled_fraction=0.5")
    assert len(alone.unlabeled) == len(alone.labeled) == 2
    assert "footage" not in alone.summary


def test_action_segments_are_for_students_alone(load, capsys):
    assert load().action_pairs == []
    capsys.readouterr()
    data = load("--include_action_segments", "--labeled_fraction=0.5")
    assert [p.observed for p in data.action_pairs] == [p.future for p in data.labeled]
    assert [p.label for p in data.action_pairs] == [p.label for p in data.labeled]
    assert data.summary["at_action"]["num_pairs"] == 2
    assert "action_pairs: 2 pairs (2 labeled" in capsys.readouterr().out


def test_flags_that_say_so_change_no_clip(load, tmp_path):
    def prepared(*arguments):
        data = load("--observed_s=1", "--future_s=1", *arguments)
        groups = data.labeled, data.unlabeled, data.evaluated, data.choosing
        return groups, data.loader.clip_format

    others = {
        "frame_rate": 30,
        "max_bad_videos": 0.5,
        "cache": "disk",
        "cache_dir": tmp_path / "clips",
    }
    # Where clips are read, and not which.
    places = {"records", "features", "data_service"}
    free = {
        field.name
        for field in dataclasses.fields(data_flags.Data)
        if {None, "run"} & set(field.metadata["affects"])
    }
    assert free == {*others, *places}
    expected = prepared()
    for name, value in others.items():
        assert prepared(f"--{name}={value}") == expected, name
    assert prepared("--lead_time_s=2") != expected


def test_bigram_stands_beside_results(load):
    data = load()
    # Training: take, put, take, put. Put in the beginning is missed, take found.
    assert bigram_top1(data.labeled, data.evaluated) == 0.5
    assert bigram_top1(data.labeled, data.evaluated[:1]) is None


def test_thumos14_by_flag(tmp_path):
    root = tmp_path / "thumos"
    for name, text in {
        "annotations_val/Diving_val.txt": "v_1  5.0 8.0\n",
        "annotations_test/Diving_test.txt": "t_1  6.0 7.0\n",
        "video_info.json": '{"v_1": {"fps": 25, "duration": 30.0}, '
        '"t_1": {"fps": 25, "duration": 40.0}}',
        "v_1.mp4": "video",
        "t_1.mp4": "video",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    config = parse(
        "--dataset=thumos14", f"--data_root={root}", f"--run_dir={tmp_path / 'run'}"
    )
    data = data_lib.load(config, RunDirectory(config))
    pair = data.labeled[0]
    assert (pair.observed.start_s, pair.observed.end_s) == (3.0, 4.0)
    assert (pair.future.start_s, pair.future.end_s) == (5.0, 8.0)
    assert data.eval_part == "test"


@pytest.mark.parametrize("dataset", ["jhmdb", "epic_kitchens", "thumos14"])
def test_a_release_needs_its_folder(tmp_path, dataset):
    config = parse(f"--dataset={dataset}", f"--run_dir={tmp_path}")
    with pytest.raises(ValueError, match=f"--dataset={dataset} needs --data_root"):
        data_lib.load(config, RunDirectory(config))


def test_clips_beyond_the_media_are_refused(load, epic):
    from tests import numbered_video

    for video in ("P01_01", "P26_01"):
        (epic / f"rgb/train/{video[:3]}/{video}.tar").unlink()
        folder = epic / f"rgb/train/{video[:3]}/{video}"
        numbered_video.write_folder(folder, range(1, 31), ".jpg", "frame_")
    data = load("--media_frame_rate=2", "--image_size=32", "--max_bad_videos=0.5")
    clip = data.loader.load(data.labeled[1].observed)
    assert len(clip) == 30
    # [8, 9) s at 2 frames a second: the frames numbered 17 and 18.
    assert set(numbered_video.numbers(clip)) == {17, 18}
    np.testing.assert_array_equal(
        pair_lists.format_labeled(data.labeled[1:2], data.index, 30)
        .splitlines()[1]
        .split(",")[-1]
        .split()[::29],
        ["17", "18"],
    )
    with pytest.raises(ValueError, match=r"it lasts 15.000 s, and the annotations ask"):
        data.loader.load(data.labeled[3].observed)


@pytest.mark.parametrize(
    "flag, named",
    [
        ("--records=", "needs --records"),
        ("--balanced", "does not know --balanced"),
        ("--labeled_per_batch=2", "does not know --labeled_per_batch"),
        ("--teacher_cache=memory", "does not know --teacher_cache"),
    ],
)
def test_a_data_service_refuses_what_it_would_ignore(load, flag, named):
    records = () if flag == "--records=" else ("--records=RECORDS", flag)
    with pytest.raises(ValueError, match=named):
        load("--dataset=csv", "--data_service=grpc://localhost:1", *records)


def test_split_and_target_choose_parts_and_labels(load, epic):
    header, *rows = LABELS.split()
    labels = [f"{header},noun_class", *(f"{row},1" for row in rows)]
    annotations = epic / "annotations"
    (annotations / "EPIC_train_action_labels.csv").write_text("\n".join(labels))
    (annotations / "EPIC_noun_classes.csv").write_text(
        "noun_id,class_key\n0,cup\n1,pan"
    )
    (annotations / "rulstm_split").mkdir()
    for part, video in (("training", "P26_01"), ("validation", "P01_01")):
        (annotations / f"rulstm_split/{part}_videos.csv").write_text(video)
    data = load("--epic_split=rulstm", "--epic_target=noun")
    assert data.index.classes == ("cup", "pan")
    assert [pair.label for pair in data.labeled] == [1, 1]
    assert (data.labeled[0].future.video, len(data.evaluated)) == ("P26_01", 4)


def test_flags_of_clips_and_colors_reach_the_loader(load):
    data = load(
        *("--fit=stretch", "--short_clip=loop", "--cache=memory"),
        *("--brightness=0.1", "--contrast=0.2", "--saturation=0.3"),
    )
    clip_format, colors = data.loader.clip_format, data.augmentation
    assert (clip_format.fit, clip_format.short_clip) == ("stretch", "loop")
    assert data.loader.cache == "memory"
    assert (colors.brightness, colors.contrast, colors.saturation) == (0.1, 0.2, 0.3)


def test_clips_are_kept_in_memory_if_it_has_room(tmp_path, monkeypatch, capsys):
    folder = small_run.write_data_set(tmp_path / "data")

    def load_csv(*flags):
        config = small_run.config(folder, tmp_path / "run", *flags)
        return data_lib.load(config, tmp_path / "run")

    data = load_csv()
    assert data.loader.cache == "memory"
    clips = data_lib.clips_of(data.for_students, data.evaluated)
    needed = data.loader.estimate_bytes(clips)
    monkeypatch.setattr(memory, "available_bytes", lambda: 2 * needed)
    assert load_csv().loader.cache == "memory"
    monkeypatch.setattr(memory, "available_bytes", lambda: needed)
    capsys.readouterr()
    assert load_csv().loader.cache == "off"
    assert f"{len(clips)} clips would take 0.00 GB of the" in capsys.readouterr().out
    assert load_csv("--cache=memory").loader.cache == "memory"


def test_flags_of_the_demo_reach_its_scenes(tmp_path, monkeypatch):
    given = {}

    def write_scenes(folder, **arguments):
        given.update(arguments)
        raise InterruptedError

    monkeypatch.setattr(data_index, "write_scenes", write_scenes)
    config = parse(
        "--dataset=demo",
        f"--run_dir={tmp_path}",
        *("--demo_videos=4", "--demo_seed=3", "--demo_labeled_fraction=0.5"),
        *("--demo_val_fraction=0.3", "--demo_camera_drift=0.2"),
    )
    with pytest.raises(InterruptedError):
        data_lib.load(config, RunDirectory(config))
    assert given == {
        "num_videos": 4,
        "seed": 3,
        "labeled_fraction": 0.5,
        "val_fraction": 0.3,
        "camera_drift": 0.2,
    }
