"""Lists of pairs: what is written, and that it is read back as it was."""

import csv
import io
import pathlib

import numpy as np
import pytest

from kd_keras.data.pair_lists import (
    LABELED_COLUMNS,
    UNLABELED_COLUMNS,
    format_labeled,
    format_unlabeled,
    read_unlabeled,
)
from kd_keras.data.pairs import Timing, labeled_pairs
from kd_keras.data.segments import Index, Segment
from kd_keras.data.unlabeled import unlabeled_pairs
from kd_keras.data.video.frame_times import frame_indices
from kd_keras.data.video.info import Video
from tests import indexes


@pytest.fixture
def frames():
    """Folders of frames at 60 a second that were not opened yet."""
    return Index(
        classes=("cut", "wash"),
        videos={
            name: Video(name, pathlib.Path(name), part, 60.0)
            for name, part in (("a", "train"), ("v", "val"))
        },
        durations_s={"a": 31.007, "v": 9.0},
        segments=(
            Segment("a", 0.5, 2.0, "wash", uid="u0"),
            Segment("a", 1.2, 2.0, "cut", uid="u1"),
            Segment("a", 12.34, 14.0, "cut", uid="u2"),
            Segment("a", 31.0, 31.007, "cut", uid="u3"),
            Segment("a", 20.0, 21.0, None, uid="u4"),
            Segment("v", 5.0, 6.0, "wash", uid="u5"),
        ),
        bad_videos={},
    )


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_labeled_list_names_the_frames(frames):
    pairs = labeled_pairs(frames, "train", Timing(1.0, 32 / 60, 32 / 60))
    rows = rows_of(format_labeled(pairs, frames, num_frames=32))
    assert list(rows[0]) == list(LABELED_COLUMNS)
    assert [row["uid"] for row in rows] == ["u0", "u1", "u2", "u3"]
    assert [row["label"] for row in rows] == ["wash", "cut", "cut", "cut"]
    assert [row["padded"] for row in rows] == ["yes", "yes", "no", "no"]
    times_s = np.arange(1860) / 60
    for row, pair in zip(rows, pairs, strict=True):
        chosen = frame_indices(
            times_s, 31.0, pair.observed.start_s, pair.observed.end_s, 32
        )
        assert row["frames"] == " ".join(str(number + 1) for number in chosen)
    # Half a frame before 12.34 - 1 s, at 11.332 s, frame 680 is on screen.
    assert rows[2]["frames"].split()[-1] == "680"
    assert rows[0]["frames"] == " ".join(["1"] * 32)


def test_frames_of_a_file_that_was_not_opened_are_left_open():
    index = indexes.kitchen()
    pairs = labeled_pairs(index, "train", Timing(1.0, 2.0))
    assert {row["frames"] for row in rows_of(format_labeled(pairs, index, 16))} == {""}


def test_a_clip_from_before_the_first_frame_is_padded():
    index = indexes.make_index(
        [Segment("a", 2.0, 3.0, "x"), Segment("a", 4.0, 5.0, "x")],
        {"a": 6.5},
        times_s={"a": 1.5 + np.arange(50) / 10},
    )
    pairs = labeled_pairs(index, "train", Timing(0.0, 1.0))
    rows = rows_of(format_labeled(pairs, index, 10))
    assert [row["padded"] for row in rows] == ["yes", "no"]
    # The middles of tenths of 1.0 s to 2.0 s: the first frame is shown from 1.5 s on.
    assert rows[0]["frames"] == "1 1 1 1 1 1 2 3 4 5"


def test_frames_of_an_opened_video_are_those_that_are_read():
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.3, 200))
    times_s -= times_s[0]
    index = indexes.make_index(
        [Segment("a", s, s + 1.0, "x") for s in np.arange(0.1, 15.0, 0.7)],
        {"a": float(times_s[-1])},
        times_s={"a": times_s},
    )
    pairs = labeled_pairs(index, "train", Timing(0.5, 1.7))
    for short_clip in ("resample", "loop", "pad_last"):
        rows = rows_of(format_labeled(pairs, index, 12, short_clip))
        for row, pair in zip(rows, pairs, strict=True):
            clip = pair.observed
            chosen = frame_indices(
                times_s, times_s[-1], clip.start_s, clip.end_s, 12, short_clip
            )
            found = np.array(row["frames"].split(), int)
            np.testing.assert_array_equal(found, chosen + 1)


def test_lists_are_read_back_as_they_were(frames, tmp_path):
    timing = Timing(lead_time_s=1 / 3, observed_s=32 / 60, future_s=0.7)
    path = tmp_path / "list.csv"
    labeled = labeled_pairs(frames, "train", timing)
    rows = rows_of(format_labeled(labeled, frames, 32))
    for row, pair in zip(rows, labeled, strict=True):
        assert row["uid"] == pair.uid
        assert row["label"] == frames.classes[pair.label]
        times_s = float(row["observed_start"]), float(row["future_end"])
        assert times_s == (pair.observed.start_s, pair.future.end_s)
    unlabeled = unlabeled_pairs(frames, timing, rule="gaps", count=25, seed=4)
    text = format_unlabeled(unlabeled, "gaps", 4)
    path.write_text(text)
    assert read_unlabeled(path, frames) == unlabeled
    rows = rows_of(text)
    assert list(rows[0]) == list(UNLABELED_COLUMNS)
    assert {row["seed"] for row in rows} == {"4"}
    at_segments = [row["rule"] for row in rows if row["future_start"] == "20.0"]
    assert "segment" in at_segments
    assert {row["rule"] for row in rows} == {"segment", "gaps"}


GOOD = "a,1,2,3,4\n"
UNLABELED = "video,observed_start,observed_end,future_start,future_end\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("video\na\n", "lacks observed_start, observed_end"),
        (UNLABELED + GOOD + "v,1,2,3,4\n", "line 3: video v belongs to val"),
        (UNLABELED + "b,1,2,3,4\n", "line 2: video 'b' is none of this data set"),
        (UNLABELED + "a,1,x,3,4\n", "observed_end 'x' is not a number of seconds"),
        (UNLABELED + "a,1,2,4,4\n", "future_end is not after future_start"),
        (UNLABELED + "a,1,2,3,nan\n", "future_end 'nan'"),
        (UNLABELED + "a,1,2,300,301\n", "line 2: future_start 300 is beyond the end"),
        (UNLABELED + "a,90,91,92,93\n", "observed_start 90 .* which lasts 31.007 s"),
        (UNLABELED + "a,-9,-8,-3,-2\n", "future_end -2 is before video a begins"),
        (UNLABELED + "a,5,6,3,4\n", "observed_end 6 is after future_end 4"),
    ],
)
def test_a_list_that_cannot_be_used(frames, tmp_path, text, message):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_unlabeled(path, frames)


def test_lists_may_begin_with_a_byte_order_mark(frames, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(UNLABELED + GOOD)
    expected = read_unlabeled(path, frames)
    path.write_text(UNLABELED + GOOD, encoding="utf-8-sig")
    assert read_unlabeled(path, frames) == expected
    path.write_text(UNLABELED + GOOD, encoding="utf-16")
    with pytest.raises(ValueError, match="not UTF-8 text .*save the file as UTF-8"):
        read_unlabeled(path, frames)
