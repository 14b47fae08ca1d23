"""Remarks and errors about labels, of the CSV reader and of any index."""

import dataclasses
import json
import pathlib

import pytest

from kd_keras.data.checks import labels as check_labels
from kd_keras.data.readers.csv_videos import read_csv
from kd_keras.data.segments import Index, Segment
from kd_keras.data.video.info import Video
from tests import small_run
from train import data as data_lib
from train import data_problems
from train import prepare as prepare_lib

CONTRADICTION = "'v0.mp4' from 1.4 to 2.4 s is 'open' and 'close'; keep the right one"


def index_of(*segments):
    videos = {s.video: Video(s.video, pathlib.Path(s.video), "train") for s in segments}
    classes = tuple(sorted({s.label for s in segments if s.label is not None}))
    return Index(classes, videos, dict.fromkeys(videos, 9.0), segments, {})


def segment(start_s, label, video="a", uid=""):
    return Segment(video, start_s, start_s + 1, label, uid=uid)


def test_spellings_are_named_with_their_counts():
    found = check_labels.remarks(
        index_of(
            segment(0, "open"),
            segment(1, "Open"),
            segment(2, "open\u200b"),
            segment(3, "open"),
            segment(4, "shut"),
        )
    )
    assert found == [
        "3 classes may be one, as their names differ only by case, blanks or what "
        r"cannot be seen: 'Open' (1 segment), 'open' (2 segments), 'open\u200b' "
        "(1 segment)"
    ]


def test_empty_cells_and_repeats_are_remarks():
    found = check_labels.remarks(
        index_of(segment(0, "NaN"), segment(1, "cut"), segment(1, "cut"))
    )
    assert len(found) == 2
    assert found[0].startswith("class 'NaN' (1 segment) looks like an empty cell")
    assert found[1].startswith(
        "1 rows repeat another row; the first is 'a' from 1 to 2"
    )


def test_only_equal_intervals_with_two_labels_contradict():
    assert check_labels.contradictions(
        [
            segment(0, "open", uid="3"),
            segment(0 + 1e-9, "shut", uid="7"),
            segment(0, "open", uid="8"),
            segment(0.5, "shut"),
            segment(0, "shut", video="b"),
            segment(2, None),
            segment(2, "open"),
        ]
    ) == ["lines 3 and 7: 'a' from 0 to 1 s is 'open' and 'shut'; keep the right one"]


def test_sound_labels_are_passed_over():
    index = index_of(segment(0, "open"), segment(1, "shut"), segment(0, "open", "b"))
    assert check_labels.remarks(index) == []
    assert check_labels.contradictions(index.segments) == []


def test_the_csv_reader_refuses_before_it_opens_a_video(tmp_path):
    annotations = tmp_path / "actions.csv"
    annotations.write_text(
        "video,start,end,label,split\n"
        "a.mp4,1,2,open,train\n"
        "./a.mp4,1.0,2.00,shut,train\n"
    )
    with pytest.raises(ValueError, match="lines 2 and 3: 'a.mp4' from 1 to 2 s is"):
        read_csv(annotations, tmp_path, refuse_contradictions=True)


@pytest.fixture(scope="module")
def contradicting(tmp_path_factory):
    folder = small_run.write_data_set(tmp_path_factory.mktemp("data"), videos=4)
    with open(folder / "actions.csv", "a", encoding="utf-8") as file:
        file.write("v0.mp4,1.4,2.4,close,train\n")
        file.write("v0.mp4,0.1,0.4,Open,train\nv0.mp4,0.1,0.4,Open,train\n")
        file.write("v2.mp4,0.1,0.4,nan,train\nv2.mp4,0.4,0.6,pay $5,train\n")
    return folder


def test_a_run_stops_at_a_contradiction(contradicting, tmp_path):
    config = small_run.config(contradicting, tmp_path)
    with pytest.raises(ValueError, match=CONTRADICTION):
        data_lib.load(config, tmp_path)


def test_a_run_begins_with_the_remarks(contradicting, tmp_path, capsys):
    index = read_csv(contradicting / "actions.csv", contradicting)
    options = small_run.config(contradicting, tmp_path).data
    with pytest.raises(ValueError, match=CONTRADICTION):
        data_problems.look_over(options, index, {})
    text = capsys.readouterr().out
    assert "Remark: 2 classes may be one" in text and "'Open' (1 segment)" in text
    assert "Remark: class 'nan' (1 segment)" in text
    assert "Remark: 1 rows repeat another row; they are dropped" in text


def test_one_class_alone_is_a_problem(tmp_path):
    config = small_run.config(tmp_path, tmp_path)
    index = dataclasses.replace(index_of(segment(0, "open")), classes=("open",))
    (problem,) = data_problems.problems(config.data, index, {})
    assert "there is one class alone, 'open'" in problem


def test_releases_are_taken_as_they_are(contradicting, tmp_path):
    config = small_run.config(contradicting, tmp_path, "--dataset=thumos14")
    index = index_of(segment(0, "Shotput"), segment(0, "ThrowDiscus"))
    assert data_problems.problems(config.data, index, {}) == []
    assert "'Shotput' and 'ThrowDiscus'" in data_problems.remarks(config.data, index)[0]


def test_the_check_reports_all_of_it(contradicting, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"\d+ problems were found"):
        prepare_lib.prepare(
            small_run.config(contradicting, tmp_path / "run"),
            small_run.preparation(tmp_path / "check", "--check"),
        )
    text = capsys.readouterr().out
    for expected in (CONTRADICTION, "may be one", "class 'nan'", "rows repeat"):
        assert text.count(expected) == 1, expected
    values = json.loads((tmp_path / "check" / "check.json").read_text())
    assert any(CONTRADICTION in problem for problem in values["problems"])
    assert any("class 'nan'" in remark for remark in values["remarks"])
    assert (tmp_path / "check" / "contact.png").stat().st_size > 0
