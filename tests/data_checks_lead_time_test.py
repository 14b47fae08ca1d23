"""Lead times that reach before the videos: what is counted, said and refused."""

import csv
import json
import pathlib

import pytest

from kd_keras.data.checks import lead_time as check_lead_time
from kd_keras.data.pairs import Timing, labeled_pairs
from kd_keras.data.segments import Index, Segment
from kd_keras.data.video.info import Video
from tests import numbered_video, small_run
from train import data as data_lib
from train import prepare as prepare_lib


def index_of(*starts_s):
    segments = [Segment("a", start_s, start_s + 1, "cut") for start_s in starts_s]
    return Index(
        ("cut",),
        {"a": Video("a", pathlib.Path("a"), "train")},
        {"a": 100.0},
        tuple(segments),
        {},
    )


def describe(index, lead_time_s):
    pairs = labeled_pairs(index, "train", Timing(lead_time_s, 2.0))
    return check_lead_time.describe("train", pairs, index, lead_time_s)


@pytest.mark.parametrize(
    ("lead_time_s", "unseen", "warns", "stops"),
    [
        (0.5, 0, False, False),
        (0.99, 0, False, False),
        # The clip ends with the start of the video: its first frame is all there is.
        (1.0, 1, True, False),
        (5.0, 5, True, False),
        (5.5, 5, True, False),
        (6.0, 6, True, True),
        (60.0, 10, True, True),
    ],
)
def test_most_stop_and_a_tenth_warns(lead_time_s, unseen, warns, stops):
    text, found = describe(index_of(*range(1, 11)), lead_time_s)
    assert (text is not None, found) == (warns, stops)
    if warns:
        assert text.startswith(f"{unseen} of 10 observed clips of the train part lie")
        assert text.endswith(" is 0.99 s")


@pytest.mark.parametrize(
    "starts_s",
    [
        [0.3],
        [3.14159, 2.0, 7.5],
        [0.0, *range(1, 12)],
        [0.1, 0.2, *[x / 7 for x in range(3, 50)]],
    ],
)
def test_the_longest_lead_time_is_the_longest(starts_s):
    index = index_of(*starts_s)
    pairs = labeled_pairs(index, "train", Timing(1.0, 2.0))
    longest_s = check_lead_time.longest_lead_time_s(pairs, index)
    assert describe(index, longest_s)[0] is None
    assert describe(index, longest_s + 0.01)[0] is not None


def test_actions_that_start_with_their_videos_support_none():
    text, stops = describe(index_of(0.0, 0.0, 5.0), 1.0)
    assert stops and "no lead time leaves these anything" in text
    assert "--observed_fraction" in text


@pytest.fixture
def folder(tmp_path):
    """Training actions at 0.5 to 2.5 s, validation actions at 3 s."""
    rows = [["video", "start", "end", "label", "split"]]
    for number, start_s in enumerate((0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0)):
        name = f"v{number}.mp4"
        numbered_video.write(tmp_path / name, 40 + number, frame_rate=10, g="7")
        label, part = "ab"[number % 2], "val" if start_s == 3 else "train"
        rows.append([name, start_s, start_s + 0.9, label, part])
    with open(tmp_path / "actions.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def test_a_run_warns_and_stops_by_part(folder, capsys):
    def load(lead_time_s):
        run = folder / "run"
        config = small_run.config(folder, run, f"--lead_time_s={lead_time_s}")
        data_lib.load(config, run)
        return capsys.readouterr().err

    assert "Warning" not in load(0.4)
    warned = load(1.1)
    assert "Warning: 2 of 5 observed clips of the train part" in warned
    assert "is 0.49 s." in warned and "val part" not in warned
    with pytest.raises(ValueError, match="3 of 5 observed clips of the train part"):
        load(1.6)
    with pytest.raises(ValueError) as raised:
        load(3.0)
    assert "5 of 5 observed clips of the train part" in str(raised.value)
    assert "2 of 2 observed clips of the val part" in str(raised.value)
    assert "at a lead time of 3 s" in str(raised.value)
    assert "is 2.99 s" in str(raised.value)


def test_a_first_part_of_the_action_has_no_lead_time(folder):
    flags = "--lead_time_s=3", "--observed_fraction=0.2"
    config = small_run.config(folder, folder / "run", *flags)
    assert len(data_lib.load(config, folder / "run").labeled) == 5


def test_the_check_reports_it(folder, capsys):
    def check(lead_time_s):
        prepare_lib.prepare(
            small_run.config(folder, folder, f"--lead_time_s={lead_time_s}"),
            small_run.preparation(folder / "check", "--check"),
        )

    with pytest.raises(ValueError, match="problems were found"):
        check(1.6)
    assert "Problem: 3 of 5 observed clips of the train" in capsys.readouterr().out
    check(1.1)
    values = json.loads((folder / "check" / "check.json").read_text())
    assert any("2 of 5 observed clips" in remark for remark in values["remarks"])
    assert not any("observed clips" in problem for problem in values["problems"])
