"""The EPIC-KITCHENS-55 reader: made-up kitchens, and the counts of the release."""

import collections
import csv
import fractions
import functools
import logging
import pathlib

import numpy as np
import pytest

from kd_keras import metrics
from kd_keras.data.pairs import (
    Timing,
    labeled_pairs,
    previous_labels,
    summarize_pairs,
    withhold_labels,
)
from kd_keras.data.readers.epic_kitchens import (
    FRAME_RATE,
    NUM_CLASSES,
    NUM_SEGMENTS,
    read_epic_kitchens,
)
from kd_keras.data.segments import Segment
from kd_keras.data.unlabeled import describe_footage, unlabeled_pairs
from kd_keras.data.video.info import Video
from tests import numbered_video

SHARED = (pathlib.Path(__file__).parents[2] / "shared/data/epic_kitchens_55").resolve()
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")

HEADER = "uid,participant_id,video_id,start_timestamp,stop_timestamp,verb_class\n"
ROWS = (
    "7,P01,P01_01,00:00:00.14,00:00:03.37,2\n"
    "8,P01,P01_01,00:01:02.50,00:01:04.00,0\n"
    "9,P26,P26_02,01:00:00.00,01:00:01.5,1\n"
)
LABELS = "annotations/EPIC_train_action_labels.csv"


@pytest.fixture
def kitchen(tmp_path):
    """One training and one validation video, whose tars hold nothing of use."""
    write(tmp_path / LABELS, HEADER + ROWS)
    write(
        tmp_path / "annotations/EPIC_verb_classes.csv",
        "verb_id,class_key,verbs\r\n0,take,\"['take', 'get']\"\r\n1,put,[]\r\n"
        "2,open,[]\r\n",
    )
    write(
        tmp_path / "annotations/EPIC_video_info.csv",
        "video,resolution,duration,fps\nP01_01,1x1,64.01,59.94\nP26_02,1x1,3700,30\n",
    )
    write(tmp_path / "rgb/train/P01/P01_01.tar", "frames")
    write(tmp_path / "rgb/train/P26/P26_02.tar", "frames")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")


def test_index_holds_what_the_rows_say(kitchen):
    index = read_epic_kitchens(kitchen)
    tars = kitchen / "rgb/train"
    assert index.classes == ("take", "put", "open")
    assert index.videos == {
        "P01_01": Video("P01_01", tars / "P01/P01_01.tar", "train", FRAME_RATE),
        "P26_02": Video("P26_02", tars / "P26/P26_02.tar", "val", FRAME_RATE),
    }
    assert index.segments == (
        Segment("P01_01", 0.14, 3.37, "open"),
        Segment("P01_01", 62.5, 64.0, "take"),
        Segment("P26_02", 3600.0, 3601.5, "put"),
    )
    assert [segment.uid for segment in index.segments] == ["7", "8", "9"]
    assert index.durations_s == {"P01_01": 64.01, "P26_02": 3700.0}
    assert (index.bad_videos, index.infos) == ({}, {})


def test_folders_go_before_tars_before_videos_and_flow_is_passed_over(kitchen):
    def path_of(video):
        return read_epic_kitchens(kitchen).videos[video].path

    write(kitchen / "flow/train/P01/P01_01/u/frame_0000000001.jpg", "flow")
    write(kitchen / "videos/train/P01/P01_01.MP4", "video")
    assert path_of("P01_01").name == "P01_01.tar"
    write(kitchen / "rgb/train/P01/P01_01/frame_0000000001.jpg", "frame")
    assert path_of("P01_01") == kitchen / "rgb/train/P01/P01_01"
    (kitchen / "rgb/train/P26/P26_02.tar").unlink()
    write(kitchen / "videos/train/P26/P26_02.MP4", "video")
    video = read_epic_kitchens(kitchen).videos["P26_02"]
    assert video.path == kitchen / "videos/train/P26/P26_02.MP4"
    assert video.frame_rate is None


def test_annotations_may_stand_beside_the_videos_in_another_order(kitchen):
    for path in (kitchen / "annotations").iterdir():
        path.rename(kitchen / path.name)
    rows = [line.split(",") for line in (HEADER + ROWS).split()]
    text = "".join(f"{','.join(['x', *reversed(row)])}\r\n" for row in rows)
    before = [segment.label for segment in read_epic_kitchens(kitchen).segments]
    write(kitchen / "EPIC_train_action_labels.csv", text)
    index = read_epic_kitchens(kitchen, frame_rate=30)
    assert [segment.label for segment in index.segments] == before
    assert index.videos["P01_01"].frame_rate == 30.0


def test_nouns(kitchen):
    lines = (HEADER.strip() + ",noun_class\n" + ROWS.replace("\n", ",1\n")).strip()
    write(kitchen / LABELS, lines)
    nouns = "noun_id,class_key,nouns\n0,Nothing,[]\n1,pan,[]\n"
    write(kitchen / "annotations/EPIC_noun_classes.csv", nouns)
    index = read_epic_kitchens(kitchen, target="noun")
    assert index.classes == ("Nothing", "pan")
    assert {segment.label for segment in index.segments} == {"pan"}


def test_actions_are_the_pairs_of_the_labels_by_number(kitchen):
    nouns = "noun_id,class_key\n0,Nothing\n1,pan\n"
    rows = zip(ROWS.split(), "011", strict=True)
    text = "".join(f"{row},{noun}\n" for row, noun in rows)
    write(kitchen / LABELS, HEADER.strip() + ",noun_class\n" + text)
    write(kitchen / "annotations/EPIC_noun_classes.csv", nouns)
    index = read_epic_kitchens(kitchen, target="action")
    assert index.classes == ("take pan", "put pan", "open Nothing")
    labels = [segment.label for segment in index.segments]
    assert labels == ["open Nothing", "take pan", "put pan"]


def test_videos_without_a_known_duration_are_opened(kitchen):
    (kitchen / "annotations/EPIC_video_info.csv").unlink()
    for video in ("P01_01", "P26_02"):
        folder = kitchen / f"rgb/train/{video[:3]}/{video}"
        numbered_video.write_folder(folder, range(1, 61), ".jpg", "frame_")
    with pytest.raises(
        ValueError, match=r"2 problems:\n  line 3: .* 62.5 s .*\n  line 4: .* 3600 s"
    ):
        read_epic_kitchens(kitchen, frame_rate=15)
    rows = "1,P01,P01_01,00:00:01,00:00:03,0\n2,P26,P26_02,00:00:03.5,00:00:05,0\n"
    write(kitchen / LABELS, HEADER + rows)
    index = read_epic_kitchens(kitchen, frame_rate=15)
    assert index.durations_s == {"P01_01": 4.0, "P26_02": 4.0}
    assert index.segments[1] == Segment("P26_02", 3.5, 4.0, "take")
    assert len(index.infos["P26_02"].times_s) == 60


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "is empty; it needs a header uid,participant_id,video_id"),
        (HEADER, "there is a header but no row"),
        (HEADER.replace("verb_class", "verb") + ROWS, r"line 1: .* lacks verb_class"),
        (HEADER.replace("uid", "narration_id") + ROWS, r"lacks uid. It has"),
        (HEADER + "1,P01,P01_01,3.5,00:00:04,0\n", "line 2: start_timestamp '3.5' is"),
        (HEADER + "1,P01,P01_01,00:00:61,00:01:04,0\n", "'00:00:61' is not a time"),
        (HEADER + "1,P01,P01_01,00:00:01,,0\n", "stop_timestamp '' is not a time as"),
        (HEADER + "1,P01,P01_01,00:00:03,00:00:03,0\n", "is not after start_timestamp"),
        (HEADER + "1,P01,P01_01,00:00:03,00:00:04,\n", "verb_class '' is not the numb"),
        (HEADER + "1,P01,P01_01,00:00:03,00:00:04,3\n", "3 is none of the 3 of the"),
        (HEADER + "1,P01,P02_01,00:00:03,00:00:04,0\n", "'P01' of video 'P02_01' is"),
        (HEADER + "1,1,1_01,00:00:03,00:00:04,0\n", "participant_id '1' of video"),
        (HEADER + ROWS + ROWS, r"3 problems:\n  line 5: uid '7' is that of line 2"),
        (HEADER + "1,P01,P01_01,00:00:03\n", "4 values where the header has 6"),
        (HEADER + "1,P26,P26_02,00:00:03,00:00:04,0\n", "no training video of split"),
        (HEADER + "1,P01,P01_01,00:02:03,00:02:04,0\n", "line 2: the action at 123 s"),
    ],
)
def test_what_cannot_be_used_is_named(kitchen, rows, message):
    write(kitchen / LABELS, rows)
    with pytest.raises(ValueError, match=message) as error:
        read_epic_kitchens(kitchen)
    assert "EPIC_train_action_labels.csv" in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("EPIC_verb_classes.csv", None, "EPIC_verb_classes.csv is not a file"),
        ("EPIC_verb_classes.csv", "verb_id,verbs\n0,x\n", "lacks class_key"),
        ("EPIC_verb_classes.csv", "verb_id,class_key\n1,x\n", "must count from 0"),
        ("EPIC_verb_classes.csv", "verb_id,class_key\n0,x\n1,x\n", "class_key differ"),
        ("EPIC_video_info.csv", "video,duration\nP01_01,long\n", "'long' is not a num"),
        ("EPIC_video_info.csv", "video,duration\nP01_01,0\n", "duration '0' is not"),
        ("EPIC_train_action_labels.csv", None, "Found no EPIC_train_action_labels.csv"),
    ],
)
def test_other_files_that_cannot_be_used(kitchen, file, text, message):
    path = kitchen / "annotations" / file
    path.unlink() if text is None else write(path, text)
    with pytest.raises(ValueError, match=message):
        read_epic_kitchens(kitchen)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"split": "s1"}, "split must be p01_p25 or rulstm. Got 's1'"),
        ({"target": "object"}, "target must be verb, noun or action. Got 'object'"),
        ({"frame_rate": 0.0}, "frame_rate must be above 0"),
        ({"max_bad_videos": 2.0}, "max_bad_videos must be a fraction"),
        ({"split": "rulstm"}, "training_videos.csv is not a file"),
    ],
)
def test_wrong_arguments(kitchen, kwargs, message):
    with pytest.raises(ValueError, match=message):
        read_epic_kitchens(kitchen, **kwargs)


def test_videos_that_are_not_there_are_skipped_and_counted(kitchen, caplog):
    rows = "".join(f"{u},P02,P02_{u},00:00:01,00:00:02,0\n" for u in (10, 11, 12))
    write(kitchen / LABELS, HEADER + ROWS + rows)
    with pytest.raises(ValueError, match=r"3 of 5 videos cannot be read") as error:
        read_epic_kitchens(kitchen)
    assert "P02_10: there is neither a folder nor a tar" in str(error.value)
    write(kitchen / "rgb/train/P02/P02_11.tar", "")
    (kitchen / "rgb/train/P02/P02_12").mkdir()
    index = read_epic_kitchens(kitchen, max_bad_videos=0.6)
    assert list(index.bad_videos) == ["P02_10", "P02_11", "P02_12"]
    assert "is empty (0 bytes)" in index.bad_videos["P02_11"]
    assert "the folder" in index.bad_videos["P02_12"]
    assert len(index.segments) == 3
    assert "Skipping video P02_11" in caplog.text


def test_lists_of_another_split(kitchen):
    write(kitchen / "annotations/rulstm_split/training_videos.csv", "P26_02\r\n")
    write(kitchen / "annotations/rulstm_split/validation_videos.csv", "P01_01")
    index = read_epic_kitchens(kitchen, "rulstm")
    parts = {name: video.part for name, video in index.videos.items()}
    assert parts == {"P01_01": "val", "P26_02": "train"}
    write(kitchen / "annotations/rulstm_split/validation_videos.csv", "P26_02\n")
    with pytest.raises(ValueError, match=r"video P26_02 is in .*training_videos.csv"):
        read_epic_kitchens(kitchen, "rulstm")
    write(kitchen / "annotations/rulstm_split/validation_videos.csv", "")
    with pytest.raises(ValueError, match=r"1 annotated videos, P01_01 the first, are"):
        read_epic_kitchens(kitchen, "rulstm")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The real annotations; of each video an empty promise."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    root = tmp_path_factory.mktemp("epic")
    (root / "annotations").symlink_to(SHARED)
    for video in {row["video_id"] for row in release_rows()}:
        write(root / f"rgb/train/{video[:3]}/{video}.tar", "x")
    return root


@functools.cache
def release_rows():
    with (SHARED / "EPIC_train_action_labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def paper(release):
    return read_epic_kitchens(release)


@pytest.mark.parametrize(
    ("split", "counts", "videos"),
    [("p01_p25", (23191, 5281), (200, 72)), ("rulstm", (23493, 4979), (232, 40))],
)
def test_published_counts(release, split, counts, videos, caplog):
    with caplog.at_level(logging.INFO):
        index = read_epic_kitchens(release, split)
    assert caplog.text == ""
    assert len(index.classes) == 125
    assert index.classes[:2] == ("take", "put")
    parts = [index.videos[segment.video].part for segment in index.segments]
    assert (parts.count("train"), parts.count("val")) == counts
    assert counts == tuple(NUM_SEGMENTS[split].values())
    parts = [video.part for video in index.videos.values()]
    assert (parts.count("train"), parts.count("val")) == videos


def test_the_actions_are_those_of_the_published_list(release):
    index = read_epic_kitchens(release, "rulstm", "action")
    names = {}
    for kind in ("verb", "noun"):
        with (SHARED / f"EPIC_{kind}_classes.csv").open(newline="") as file:
            rows = csv.DictReader(file)
            names[kind] = {row[f"{kind}_id"]: row["class_key"] for row in rows}
    with (SHARED / "rulstm_split/actions.csv").open(newline="") as file:
        listed = {
            f"{names['verb'][row['verb']]} {names['noun'][row['noun']]}"
            for row in csv.DictReader(file)
        }
    assert set(index.classes) == listed
    assert len(index.classes) == len(listed) == NUM_CLASSES["action"] == 2513


def test_other_counts_warn(release, tmp_path, caplog):
    lines = (SHARED / "EPIC_train_action_labels.csv").read_text().splitlines()
    write(tmp_path / LABELS, "\n".join(lines[:-1]) + "\n")
    for name in ("EPIC_verb_classes.csv", "EPIC_video_info.csv"):
        (tmp_path / "annotations" / name).symlink_to(SHARED / name)
    (tmp_path / "rgb").symlink_to(release / "rgb")
    read_epic_kitchens(tmp_path)
    assert "23191 train and 5280 val segments here" in caplog.text


@pytest.mark.parametrize(("rate", "number"), [(60, 85), (30, 111)])
def test_few_samples_start_too_early_and_none_is_dropped(paper, rate, number):
    timing = Timing(lead_time_s=1.0, observed_s=32 / rate)
    pairs = labeled_pairs(paper, "train", timing)
    # 1 s and 32 frames, in hundredths of a second and in whole numbers.
    expected = sum(
        6 * hundredths(row["start_timestamp"]) < 6 * 100 + 32 * (600 // rate)
        for row in release_rows()
        if row["participant_id"] <= "P25"
    )
    assert summarize_pairs(pairs).num_padded == expected == number
    assert len(pairs) == 23191


def hundredths(timestamp):
    hours, minutes, seconds = timestamp.split(":")
    return int(hours) * 360000 + int(minutes) * 6000 + int(seconds.replace(".", ""))


@pytest.mark.parametrize(("rate", "disjoint"), [(60, 12353), (30, 7038)])
def test_unlabeled_footage_of_the_release(paper, rate, disjoint):
    timing = Timing(1.0, 32 / rate, 32 / rate)
    pairs = unlabeled_pairs(paper, timing, rule="gaps", count=26391)
    footage = describe_footage(paper, pairs, timing, rule="gaps")
    assert len(set(pairs)) == 26391
    assert round(footage.video_hours, 1) == 32.5
    assert round(footage.gap_hours, 1) == 10.2
    assert footage.num_gaps == 16691
    assert footage.median_gap_s == pytest.approx(0.74)
    assert footage.num_disjoint == disjoint_by_fractions(rate) == disjoint
    assert footage.num_sharing > 26391 - disjoint
    assert {paper.videos[pair.future.video].part for pair in pairs} == {"train"}
    few = unlabeled_pairs(paper, timing, rule="gaps", count=disjoint)
    assert describe_footage(paper, few, timing, rule="gaps").num_sharing == 0


def disjoint_by_fractions(rate):
    """Gaps of P01-P25 over 1 s and 64 frames, free of rounding: four fit exactly."""
    with (SHARED / "EPIC_video_info.csv").open(newline="") as file:
        ends = {
            row["video"]: fractions.Fraction(row["duration"])
            for row in csv.DictReader(file)
        }
    segments = collections.defaultdict(list)
    for row in release_rows():
        if row["participant_id"] <= "P25":
            segments[row["video_id"]].append(
                tuple(
                    fractions.Fraction(hundredths(row[f"{end}_timestamp"]), 100)
                    for end in ("start", "stop")
                )
            )
    count = 0
    for video, intervals in segments.items():
        free = fractions.Fraction(0)
        for start, end in [*sorted(intervals), (ends[video], ends[video])]:
            count += max(start - free, 0) // (1 + fractions.Fraction(64, rate))
            free = max(free, end)
    return count


def test_withheld_labels_are_among_the_unlabeled_pairs(paper):
    half = withhold_labels(paper, 0.5)
    timing = Timing(1.0, 32 / 60, 32 / 60)
    withheld = {segment.uid for segment in half.segments if segment.withheld}
    pairs = unlabeled_pairs(half, timing, rule=None)
    assert {pair.uid for pair in pairs} == withheld
    assert len(pairs) == len(withheld) == 23191 - 11596


def test_published_baselines(paper):
    train, val = (
        labeled_pairs(paper, part, Timing(lead_time_s=1.0, observed_s=32 / 60))
        for part in ("train", "val")
    )
    labels = np.array([pair.label for pair in val])
    majority = np.bincount([pair.label for pair in train]).argmax()
    assert paper.classes[majority] == "put"
    assert round(100 * np.mean(labels == majority), 2) == 21.97
    answers = metrics.bigram(
        previous_labels(train), [pair.label for pair in train], previous_labels(val)
    )
    assert round(100 * np.mean(labels == answers), 1) == 34.1
