"""The CSV reader: what it accepts, what it refuses, and what it says then."""

import csv
import logging
import pathlib
import re

import av
import numpy as np
import pytest

from kd_keras.data.readers import probing
from kd_keras.data.readers.csv_videos import read_csv
from kd_keras.data.segments import Segment
from kd_keras.data.video.info import BadVideo, Video, VideoInfo
from kd_keras.data.video.reading import write_video

HEADER = "video,start,end,label,split\n"
GOOD = "a.mp4,0,2,walk,train\nb.mp4,1.5,3,sit,train\nc.mp4,2,4,walk,val\n"
CEILING = (
    pathlib.Path(__file__).parents[2] / "shared/data/videos/ceiling_actions"
).resolve()


def info(duration_s=10.0, num_frames=100):
    times_s = np.arange(num_frames) * (duration_s / num_frames)
    return VideoInfo(times_s=times_s, duration_s=duration_s, height=4, width=4)


@pytest.fixture
def probed(monkeypatch):
    """Stands in for the videos: 10 s at 10 frames per second; "bad" ones are broken."""
    names = []

    def probe(video):
        names.append(video.name)
        if "bad" in video.name:
            raise BadVideo(video.name, "it is torn")
        return info()

    monkeypatch.setattr(probing, "probe", probe)
    return names


@pytest.fixture
def read(tmp_path, probed):
    def read(content, **kwargs):
        path = tmp_path / "annotations.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_csv(path, tmp_path, **kwargs)

    return read


def test_index_holds_what_the_rows_say(read, tmp_path):
    index = read(HEADER + GOOD)
    assert index.classes == ("sit", "walk")
    assert index.segments == (
        Segment("a.mp4", 0.0, 2.0, "walk"),
        Segment("b.mp4", 1.5, 3.0, "sit"),
        Segment("c.mp4", 2.0, 4.0, "walk"),
    )
    assert index.videos["c.mp4"] == Video("c.mp4", tmp_path / "c.mp4", "val")
    assert index.durations_s == {"a.mp4": 10.0, "b.mp4": 10.0, "c.mp4": 10.0}
    assert set(index.infos) == set(index.videos)
    np.testing.assert_array_equal(index.infos["b.mp4"].times_s, info().times_s)
    assert index.bad_videos == {}


def test_columns_come_in_any_order_beside_others(read):
    index = read("id,split,label_name,end,start,video\n7,train,walk,2,0,a.mp4\n")
    assert index.segments == (Segment("a.mp4", 0.0, 2.0, "walk"),)


def test_a_group_is_what_its_column_says(read, caplog):
    header, *rows = (HEADER + GOOD).splitlines()
    groups = ("kitchen 1", "", "kitchen 1")
    lines = [f"{header},group", *map(",".join, zip(rows, groups, strict=True))]
    index = read("\n".join(lines))
    found = [video.group for video in index.videos.values()]
    assert found == ["kitchen 1", None, "kitchen 1"]
    assert "1 of 1 groups have videos in several splits, such as 'kitchen 1'" in (
        caplog.text
    )
    with pytest.raises(ValueError, match="lines 2 and 5: video 'a.mp4' is in the gro"):
        read("\n".join([*lines, "a.mp4,4,5,walk,train,kitchen 2"]))
    with pytest.raises(ValueError, match="the header has group more than once"):
        read("\n".join([f"{header},group,group", *(f"{row},,g" for row in rows)]))


def test_empty_label_is_an_unlabeled_segment(read):
    index = read(HEADER + "a.mp4,0,2,walk,train\na.mp4,3,4, ,train\nt.mp4,0,1,,test\n")
    assert [segment.label for segment in index.segments] == ["walk", None, None]
    assert index.classes == ("walk",)


@pytest.mark.parametrize(
    "content",
    [
        (HEADER + GOOD).replace("\n", "\r\n"),
        (HEADER + GOOD).replace("\n", "\r"),
        "\ufeff" + HEADER + GOOD,
        HEADER + "\n" + GOOD + ",,,,\n  \n",
        (HEADER + GOOD).replace(",", " , "),
        HEADER + GOOD.rstrip(),
    ],
    ids=["crlf", "cr", "bom", "blank rows", "blanks", "no last newline"],
)
def test_harmless_differences_do_not_count(read, content):
    assert read(content) == read(HEADER + GOOD)


def test_names_may_hold_any_character(read, tmp_path):
    index = read(
        HEADER
        + '"küche, nord/größe 1.mp4",0,1,"cut, then ""peel""",train\n'
        + "日本 (2).mp4,0,1,  zwei  wörter  ,train\n"
    )
    assert list(index.videos) == ["küche, nord/größe 1.mp4", "日本 (2).mp4"]
    assert index.classes == ('cut, then "peel"', "zwei  wörter")
    path = index.videos["küche, nord/größe 1.mp4"].path
    assert path == tmp_path / "küche, nord" / "größe 1.mp4"


def test_one_class_whatever_way_its_accents_are_encoded(read):
    index = read(HEADER + "a.mp4,0,1,caf\u00e9,train\nb.mp4,0,1,cafe\u0301,train\n")
    assert index.classes == ("caf\u00e9",)


def test_one_group_whatever_way_its_accents_are_encoded(read):
    header = "video,start,end,label,split,group\n"
    rows = "a.mp4,0,1,walk,train,Jos\u00e9\nb.mp4,0,1,walk,train,Jose\u0301\n"
    index = read(header + rows)
    assert {video.group for video in index.videos.values()} == {"Jos\u00e9"}


def test_two_spellings_of_a_path_are_one_video(read, tmp_path):
    rows = f"a.mp4,0,1,walk,train\n./x/../a.mp4,1,2,sit,train\n{tmp_path}/a.mp4"
    index = read(HEADER + rows + ",2,3,sit,train\n")
    assert [segment.video for segment in index.segments] == ["a.mp4"] * 3


def test_repeated_rows_are_dropped_and_counted(read, caplog):
    with caplog.at_level(logging.WARNING):
        index = read(HEADER + GOOD + GOOD)
    assert index == read(HEADER + GOOD)
    assert "dropped 3 rows" in caplog.text
    assert index.dropped == {"repeated rows": 3}
    assert [segment.uid for segment in index.segments] == ["2", "3", "4"]


def test_one_interval_may_have_two_labels(read):
    index = read(HEADER + "a.mp4,0,2,walk,train\na.mp4,0,2,sit,train\n")
    assert len(index.segments) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; it needs a header video,start,end,label,split"),
        ("\n \n", "is empty"),
        (HEADER, "there is a header but no row"),
        ("video,start,end,split\n" + GOOD, r"line 1: .* lacks label.*'split'\]"),
        (GOOD, r"lacks video, start, end, label, split. It has \['a.mp4', '0'"),
        ((HEADER + GOOD).replace(",", ";"), "separated by ';': save it with commas"),
        ((HEADER + GOOD).replace(",", "\t"), r"separated by '\\t'"),
        ("label_name," + HEADER + "x," + GOOD, "label more than once .*label_name is"),
        (HEADER + GOOD + "d.mp4,0,1,walk,training\n", "line 5: unknown split 'trai"),
        (HEADER + GOOD + "d.mp4,0,1,walk,\n", "line 5: unknown split ''.*train, val,"),
        (HEADER + GOOD + "d.mp4,2,2,walk,train\n", "line 5: end 2 is not after start"),
        (HEADER + GOOD + "d.mp4,3,2,walk,train\n", "line 5: end 2 is not after start"),
        (HEADER + GOOD + "d.mp4,-1,2,walk,train\n", "line 5: start -1 is negative"),
        (HEADER + GOOD + "d.mp4,nan,2,walk,train\n", "line 5: start 'nan' is not a nu"),
        (HEADER + GOOD + "d.mp4,0,inf,walk,train\n", "line 5: end 'inf' is not a num"),
        (HEADER + GOOD + "d.mp4,,1,walk,train\n", "line 5: start '' is not a number"),
        (HEADER + GOOD + "d.mp4,0,0:01,walk,train\n", "line 5: end '0:01' .*as 62.5"),
        (HEADER + GOOD + "d.mp4,0,1_5,walk,train\n", "line 5: end '1_5' .*as 62.5"),
        (HEADER + GOOD + "d.mp4,0,1,5,walk,train\n", "line 5: 6 values where .* has 5"),
        (HEADER + GOOD + "d.mp4,0,1,walk\n", "line 5: 4 values where the header has 5"),
        (HEADER + GOOD + ",0,1,walk,train\n", "line 5: the video has no name"),
        (HEADER + GOOD + "../d.mp4,0,1,walk,train\n", "line 5: .*outside video_root"),
        (HEADER + GOOD + "/x/d.mp4,0,1,walk,train\n", "line 5: .*outside video_root"),
        (HEADER + GOOD + ".,0,1,walk,train\n", "line 5: .*outside video_root"),
        (HEADER + GOOD + '"d.mp4,0,1,walk,train\nx\n', "line 5: not a CSV record"),
        (HEADER + GOOD + '"d".mp4,0,1,walk,train\n', "line 5: not a CSV record"),
        (HEADER + GOOD + "a.mp4,5,6,walk,test\n", "lines 2 and 5: .*train and test"),
        (HEADER + GOOD + "d/../a.mp4,5,6,,val\n", "lines 2 and 5: .*train and val"),
        (HEADER + GOOD + "d.mp4,0,1,run,val\n", "line 5: class 'run' is in val .*sit,"),
        (HEADER + GOOD + "d.mp4,0,1,Walk,test\n", "line 5: class 'Walk' is in test"),
        (HEADER + "a.mp4,0,1,,train\nb.mp4,0,1,run,val\n", "no row of split 'train'"),
        ((HEADER + GOOD).encode() + b"caf\xe9.mp4,0,1,", "line 5: not UTF-8"),
        ((HEADER + GOOD).encode("utf-16"), "line 1: not UTF-8"),
        ((HEADER + GOOD).encode("utf-16-le"), "line 1: holds a zero byte"),
    ],
)
def test_what_cannot_be_used_is_named_before_a_video_is_opened(
    read, probed, content, message
):
    with pytest.raises(ValueError, match=message) as error:
        read(content)
    assert "annotations.csv" in str(error.value)
    assert probed == []


def test_lines_are_counted_through_quoted_newlines(read):
    rows = (
        'a.mp4,0,1,"walk\nslowly",train\n\n"b.mp4",0,1,"x\r\ny",train\nc.mp4,2,1,,val'
    )
    with pytest.raises(ValueError, match=r"line 7: end 1 is not after start 2"):
        read(HEADER + rows)


def test_all_problems_are_counted_and_the_first_are_shown(read):
    rows = "".join(f"v{i}.mp4,2,1,walk,train\n" for i in range(8))
    with pytest.raises(ValueError, match=r"has 8 problems") as error:
        read(HEADER + rows)
    assert re.findall(r"line (\d+)", str(error.value)) == ["2", "3", "4", "5", "6"]
    assert "and 3 more" in str(error.value)


def test_end_may_pass_the_video_by_a_frame_and_is_cut(read):
    index = read(HEADER + GOOD + "a.mp4,8,10.1,sit,train\n")
    assert index.segments[-1] == Segment("a.mp4", 8.0, 10.0, "sit")
    with pytest.raises(ValueError, match=r"line 5: end 10.2 .*'a.mp4', .*10.000 s"):
        read(HEADER + GOOD + "a.mp4,8,10.2,sit,train\n")
    with pytest.raises(ValueError, match=r"line 5: start 10 lies beyond"):
        read(HEADER + GOOD + "a.mp4,10,10.05,sit,train\n")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"none.csv is not a file"):
        read_csv(tmp_path / "none.csv", tmp_path)
    (tmp_path / "a.csv").write_text(HEADER + GOOD)
    with pytest.raises(ValueError, match=r"video_root .*none is not a folder"):
        read_csv(tmp_path / "a.csv", tmp_path / "none")


def many(num_good, num_bad):
    names = [f"v{i}.mp4" for i in range(num_good)]
    names += [f"bad{i}.mp4" for i in range(num_bad)]
    return HEADER + "".join(f"{name},0,1,walk,train\n" for name in names)


def test_a_bad_video_is_skipped_by_name_with_its_segments(read, caplog):
    index = read(many(2, 1) + "bad0.mp4,3,4,walk,train\n")
    (reason,) = index.bad_videos.values()
    assert list(index.bad_videos) == ["bad0.mp4"]
    assert re.fullmatch(r"it is torn; named in .*annotations.csv, line 4", reason)
    assert set(index.videos) == set(index.durations_s) == {"v0.mp4", "v1.mp4"}
    assert {segment.video for segment in index.segments} == {"v0.mp4", "v1.mp4"}
    assert "Skipping video bad0.mp4: it is torn" in caplog.text


@pytest.mark.parametrize(
    ("num_good", "num_bad", "fraction"),
    [(19, 1, 0.01), (198, 2, 0.01), (71, 29, 0.29), (1, 1, 0.01), (1, 9, 1.0)],
)
def test_so_many_bad_videos_are_let_pass(read, num_good, num_bad, fraction):
    index = read(many(num_good, num_bad), max_bad_videos=fraction)
    assert (len(index.videos), len(index.bad_videos)) == (num_good, num_bad)


@pytest.mark.parametrize(
    ("num_good", "num_bad", "fraction"),
    [(18, 2, 0.01), (197, 3, 0.01), (19, 1, 0.0), (0, 1, 0.01), (0, 9, 1.0)],
)
def test_more_bad_videos_stop(read, num_good, num_bad, fraction):
    message = f"{num_bad} of {num_good + num_bad} videos cannot be read"
    with pytest.raises(ValueError, match=message) as error:
        read(many(num_good, num_bad), max_bad_videos=fraction)
    assert "bad0.mp4: it is torn" in str(error.value)
    assert ("and 4 more" in str(error.value)) == (num_bad == 9)


def test_a_class_lost_with_a_skipped_video_says_so(read):
    rows = many(5, 1) + "bad0.mp4,2,3,sit,train\n"
    with pytest.raises(
        ValueError, match=r"class 'sit' .* \(bad0.mp4: it is torn; .* line 7\); repair"
    ):
        read(rows)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fraction_of_bad_videos_is_checked(read, fraction):
    with pytest.raises(ValueError, match="max_bad_videos must be a fraction"):
        read(HEADER + GOOD, max_bad_videos=fraction)


def test_progress_goes_to_stderr(read, monkeypatch, capsys):
    monkeypatch.setattr(probing, "_PROGRESS_EVERY_S", 0.0)
    read(HEADER + GOOD)
    assert "Opening videos: 3 of 3" in capsys.readouterr().err
    read(HEADER + GOOD, progress=False)
    assert capsys.readouterr().err == ""


def test_broken_files_of_every_kind(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (24, 32, 32, 3), np.uint8)
    write_video(tmp_path / "whole.mp4", frames, frame_rate=12)
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "copy.mp4").write_bytes(whole)
    (tmp_path / "torn.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all\n" * 100)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode()])
    names = ["whole.mp4", "copy.mp4", "missing.mp4", "torn.mp4", "empty.mp4"]
    names += ["text.mp4", "sound.wav", "folder"]
    (tmp_path / "folder").mkdir()
    rows = "".join(f"{name},0,1.5,walk,train\n" for name in names)
    (tmp_path / "a.csv").write_text(HEADER + rows)
    index = read_csv(tmp_path / "a.csv", tmp_path, max_bad_videos=0.9)
    assert list(index.videos) == ["whole.mp4", "copy.mp4"]
    assert index.durations_s["whole.mp4"] == pytest.approx(2.0)
    assert list(index.bad_videos) == names[2:]
    assert all(index.bad_videos.values())
    assert "does not exist" in index.bad_videos["missing.mp4"]
    assert "no video stream" in index.bad_videos["sound.wav"]
    assert "in a CSV, name a video file" in index.bad_videos["folder"]


@pytest.mark.skipif(not CEILING.is_dir(), reason=f"{CEILING} is not there")
def test_real_recordings():
    index = read_csv(CEILING / "annotations.csv", CEILING)
    assert len(index.segments) == 288
    assert len(index.classes) == 9
    assert len(index.videos) == 21
    assert index.bad_videos == {}
    parts = [index.videos[segment.video].part for segment in index.segments]
    assert (parts.count("train"), parts.count("val")) == (197, 91)
    with (CEILING / "videos.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert len(index.infos[row["video"]].times_s) == int(row["frames"])
            assert index.durations_s[row["video"]] == pytest.approx(
                float(row["duration"]), abs=1e-3
            )


@pytest.mark.parametrize(
    "content",
    [
        HEADER.replace("split", "x" * 50_000) + GOOD,
        f"{HEADER}a.mp4,0,1,walk,{'y' * 50_000}\n",
    ],
)
def test_a_message_stays_short(read, content):
    with pytest.raises(ValueError, match=r"annotations\.csv.* \[\.\.\.\] ") as caught:
        read(content)
    assert len(str(caught.value)) < 2000
