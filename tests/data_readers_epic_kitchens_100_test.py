"""The EPIC-KITCHENS-100 reader: made-up training rows, the release's other files."""

import csv
import logging
import pathlib

import pytest

from kd_keras.data.readers.epic_kitchens_100 import read_epic_kitchens_100
from kd_keras.data.segments import Segment

SHARED = (pathlib.Path(__file__).parents[2] / "shared/data/epic_kitchens_100").resolve()

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,"
    "stop_timestamp,start_frame,stop_frame,narration,verb,verb_class,noun,noun_class,"
    "all_nouns,all_noun_classes\n"
)
# A narration of two lines, one with a quote, one without the time it was spoken at.
TRAINING = (
    "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,1,"
    "door,1,['door'],[1]\n"
    'P01_01_1,P01,P01_01,00:00:02.629,00:01:02.50,00:01:04.00,262,370,"take the\n'
    'cup, 2 ""big"" ones",take,0,cup,0,"[\'cup\', \'door\']","[0, 1]"\n'
    "P01_101_0,P01,P01_101,,00:00:02.86,00:00:03.87,143,193,take cup,take,0,cup,0,"
    "['cup'],[0]\n"
)
VALIDATION = (
    "P18_02_0,P18,P18_02,00:00:00.56,01:00:00.00,01:00:01.5,1,113,open cup,open,1,cup,"
    "0,['cup'],[0]\n"
)
ANNOTATIONS = {
    "EPIC_100_train.csv": HEADER + TRAINING,
    "EPIC_100_validation.csv": HEADER + VALIDATION,
    "EPIC_100_verb_classes.csv": "id,key,instances,category\r\n0,take,[],x\r\n"
    "1,open,[],y\r\n",
    "EPIC_100_noun_classes.csv": "id,key,instances,category\r\n0,cup,[],x\r\n"
    "1,door,[],y\r\n",
    "EPIC_100_video_info.csv": "video_id,duration,fps,resolution\nP01_01,64.01,59.94,"
    "1x1\nP01_101,10,50,1x1\nP18_02,3700,30,1x1\n",
}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")


@pytest.fixture
def kitchen(tmp_path):
    """A few videos in the layout of the release, whose tars hold nothing of use."""
    for name, text in ANNOTATIONS.items():
        write(tmp_path / "annotations" / name, text)
    for video in ("P01_01", "P01_101", "P18_02"):
        write(tmp_path / f"{video[:3]}/rgb_frames/{video}.tar", "frames")
        write(tmp_path / f"{video[:3]}/flow_frames/{video}.tar", "flow")
    return tmp_path


def test_index_holds_what_the_rows_say(kitchen):
    index = read_epic_kitchens_100(kitchen)
    assert index.classes == ("take", "open")
    assert index.segments == (
        Segment("P01_01", 0.14, 3.37, "open"),
        Segment("P01_01", 62.5, 64.0, "take"),
        Segment("P01_101", 2.86, 3.87, "take"),
        Segment("P18_02", 3600.0, 3601.5, "open"),
    )
    assert [segment.uid for segment in index.segments] == [
        "P01_01_0",
        "P01_01_1",
        "P01_101_0",
        "P18_02_0",
    ]
    videos = index.videos.values()
    assert [video.part for video in videos] == ["train", "train", "val"]
    # The frame of 2.86 s is the 143rd: 50 a second.
    assert [video.frame_rate for video in videos] == [60.0, 50.0, 60.0]
    assert {video.path.parent.name for video in videos} == {"rgb_frames"}
    at_30 = read_epic_kitchens_100(kitchen, frame_rate=30).videos.values()
    assert [video.frame_rate for video in at_30] == [30.0] * 3


def test_nouns_and_actions(kitchen):
    nouns = read_epic_kitchens_100(kitchen, "noun")
    assert nouns.classes == ("cup", "door")
    assert [s.label for s in nouns.segments] == ["door", "cup", "cup", "cup"]
    actions = read_epic_kitchens_100(kitchen, "action")
    # By the numbers of verb and noun; validation alone has "open cup".
    assert actions.classes == ("take cup", "open cup", "open door")
    labels = [segment.label for segment in actions.segments]
    assert labels == ["open door", "take cup", "take cup", "open cup"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "train",
            "verb_class,",
            "verb_number,",
            "train.csv, line 1.* lacks verb_class",
        ),
        ("train", "P01_01_1", "P01_01_0", "'P01_01_0' is that of line 2, too"),
        (
            "train",
            "open,1",
            "open,2",
            "train.csv: line 2: verb_class 2 is none of the 2",
        ),
        (
            "train",
            "00:01:02.50",
            "00:01:64.02",
            "line 3: start_timestamp '00:01:64.02'",
        ),
        ("train", "P01_101,,00:00:02", "P01_101,,00:00:12", "3.87 is not after start_"),
        ("validation", "P18_02,", "P01_01,", "'P18' of video 'P01_01' is not like P01"),
        ("validation", "P18,P18_02,", "P01,P01_01,", "P01_01 is in EPIC_100_train.csv"),
        ("validation", "01:00:0", "02:00:0", "validation.csv: line 2: the action at"),
        ("verb_classes", "id,", "verb_id,", "verb_classes.csv, line 1.* lacks id"),
        ("video_info", "video_id", "video", "video_info.csv, line 1.* lacks video_id"),
    ],
)
def test_what_cannot_be_used_is_named(kitchen, file, old, new, message):
    name = f"EPIC_100_{file}.csv"
    assert old in ANNOTATIONS[name]
    write(kitchen / "annotations" / name, ANNOTATIONS[name].replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_epic_kitchens_100(kitchen)


def test_wrong_arguments_and_missing_files(kitchen):
    with pytest.raises(ValueError, match="target must be verb, noun or action"):
        read_epic_kitchens_100(kitchen, "object")
    with pytest.raises(ValueError, match="frame_rate must be above 0"):
        read_epic_kitchens_100(kitchen, frame_rate=0.0)
    (kitchen / "annotations/EPIC_100_train.csv").unlink()
    with pytest.raises(ValueError, match=r"EPIC_100_train.csv is not a file"):
        read_epic_kitchens_100(kitchen)
    (kitchen / "annotations/EPIC_100_validation.csv").unlink()
    with pytest.raises(
        ValueError, match="EPIC_100_validation.csv of EPIC-KITCHENS-100"
    ):
        read_epic_kitchens_100(kitchen)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The real files beside made-up training rows; of each video an empty promise."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    root = tmp_path_factory.mktemp("epic")
    for path in SHARED.glob("EPIC_100_*.csv"):
        (root / path.name).symlink_to(path)
    write(root / "EPIC_100_train.csv", HEADER + TRAINING)
    for video in {"P01_01", "P01_101", *(row["video_id"] for row in release_rows())}:
        write(root / f"{video[:3]}/rgb_frames/{video}.tar", "x")
    return root


def release_rows(file="EPIC_100_validation.csv"):
    with (SHARED / file).open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("target", ["verb", "noun", "action"])
def test_published_counts(release, target, caplog):
    with caplog.at_level(logging.INFO):
        index = read_epic_kitchens_100(release, target)
    assert "3 train and 9668 val segments here; the release" in caplog.text
    val = [s for s in index.segments if index.videos[s.video].part == "val"]
    assert len(val) == 9668
    assert len({segment.video for segment in val}) == 138
    # 1,352 pairs, and of the two training rows one pair that they lack.
    pairs = {(row["verb_class"], row["noun_class"]) for row in release_rows()}
    assert len(pairs) == 1352
    classes = {"verb": 97, "noun": 300, "action": len(pairs | {("1", "1"), ("0", "0")})}
    assert len(index.classes) == classes[target]
    row, segment = release_rows()[2], val[2]
    assert segment.uid == row["narration_id"] == "P01_11_10"
    words = {"verb": "take", "noun": "paper", "action": "take paper"}
    assert (segment.label, segment.start_s) == (words[target], 49.15)


def test_frames_are_counted_at_the_rates_of_the_release():
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    rates = {}
    for file in ("EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv"):
        for row in release_rows(file):
            hours, minutes, seconds = map(float, row["start_timestamp"].split(":"))
            start_s = 3600 * hours + 60 * minutes + seconds
            if start_s > 100:
                is_later = len(row["video_id"].partition("_")[2]) == 3
                rate = round(int(row["start_frame"]) / start_s)
                rates.setdefault(is_later, set()).add(rate)
    assert rates == {False: {60}, True: {50}}
