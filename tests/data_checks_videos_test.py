"""The check finds unreadable videos, labels that lack, and leaks between parts."""

import dataclasses
import json
import shutil

import av
import cv2
import numpy as np
import pytest

from kd_keras.data.checks import videos as check_videos
from kd_keras.data.segments import Index, Segment
from kd_keras.data.video.info import Video
from kd_keras.data.video.reading import probe, write_video
from tests import numbered_video, small_run
from train import check_data
from train import prepare as prepare_lib


def _recording(seed, frames=30, size=(64, 64)):
    """A disc that moves over a background that all recordings share."""
    blocks = np.random.default_rng(0).integers(60, 120, (4, 4, 3), np.uint8)
    background = cv2.resize(blocks, size)
    draws = np.random.default_rng(seed)
    start, step = draws.uniform(10, 50, 2), draws.uniform(-1, 1, 2)
    for number in range(frames):
        picture = background.copy()
        place = (start + number * step).astype(int).tolist()
        cv2.circle(picture, place, 12, (250, 240, 30), -1)
        yield picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        write_video(folder / f"{number}.mp4", _recording(number), 10)
    shutil.copy(folder / "0.mp4", folder / "copy.mp4")
    # The same recording, smaller and in another format.
    small = [cv2.resize(frame, (48, 48)) for frame in _recording(1)]
    with av.open(str(folder / "small.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 48
        stream.pix_fmt, stream.bit_rate = "yuv420p", 400_000
        for frame in small:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    return folder


def _index(folder, parts, segments=()):
    videos = {
        name: Video(name, next(folder.glob(f"{name}.*")), part)
        for name, part in parts.items()
    }
    infos = {name: probe(video) for name, video in videos.items()}
    durations_s = {name: info.duration_s for name, info in infos.items()}
    return Index(("a", "b"), videos, durations_s, tuple(segments), {}, infos)


def test_recordings_of_one_scene_do_not_leak(folder):
    parts = {"0": "train", "1": "val", "2": "train", "3": "val", "4": "test"}
    assert check_videos.check_data_set(_index(folder, parts)).leaks == []


def test_copies_leak_whatever_their_name_and_format(folder):
    parts = {"0": "train", "1": "train", "2": "val", "copy": "val", "small": "test"}
    leaks = check_videos.check_data_set(_index(folder, parts)).leaks
    assert [(leak.first, leak.second) for leak in leaks] == [
        ("0", "copy"),
        ("1", "small"),
    ]
    assert "same file" in leaks[0].reason and "same content" in leaks[1].reason


def test_a_copy_within_a_part_is_no_leak(folder):
    assert (
        check_videos.check_data_set(
            _index(folder, {"0": "train", "copy": "train"})
        ).leaks
        == []
    )


def test_labels_frames_and_durations_are_counted(folder):
    segments = [
        Segment("0", 0.0, 1.0, "a"),
        Segment("0", 1.0, 2.0, None),
        Segment("1", 0.0, 4.0, "b"),
    ]
    report = check_videos.check_data_set(
        _index(folder, {"0": "train", "1": "val"}, segments)
    )
    assert report.labels == {
        "train": {"a": 1, "b": 0, "": 1},
        "val": {"a": 0, "b": 1, "": 0},
    }
    first = report.videos[0]
    assert (first.num_frames, first.frame_rate, first.num_segments) == (30, 10.0, 2)
    assert first.duration_s == pytest.approx(3.0) and first.problem is None
    problems = "\n".join(report.problems())
    assert "last segment ends at 4.00 s, the video at 3.00 s" in problems
    assert "train has no example of 1 of 2 classes: b" in report.remarks()


def test_odd_files_are_remarked_on_with_their_seconds(tmp_path):
    late = numbered_video.write_recording(
        tmp_path / "late.mp4", 1.52 + np.arange(50) / 25, sound_s=(0, 3), streams=2
    )
    stopped = np.r_[np.arange(50), 600 + np.arange(50)] / 25
    numbered_video.write_recording(tmp_path / "stopped.mkv", stopped)
    segments = [
        Segment("late", 0.5, 1.0, "a"),
        Segment("late", 2.0, 3.0, "b"),
        Segment("stopped", 1.5, 2.5, "a"),
        Segment("stopped", 24.0, 25.0, "b"),
    ]
    parts = {"late": "train", "stopped": "train"}
    report = check_videos.check_data_set(_index(tmp_path, parts, segments))
    assert report.problems() == [] and late.exists()
    assert report.remarks() == [
        "late: it has 2 video streams; stream 0, which starts at 1.52 s, is used alone",
        "late: the picture starts at 1.52 s of the file, nothing is seen before",
        "late: the segment a of 0.50 s to 1.00 s reaches into 0.00 s to 1.52 s, which "
        "shows no picture",
        "stopped: no picture comes between 2.00 s and 24.00 s",
        "stopped: the segment a of 1.50 s to 2.50 s reaches into 2.00 s to 24.00 s, "
        "which shows no picture",
    ]
    assert [video.frame_rate for video in report.videos] == [25.0, 25.0]


def test_videos_that_no_reader_opened_are_opened_and_all_bad_ones_are_named(folder):
    """As the releases of EPIC-KITCHENS and THUMOS14 know durations from a file."""
    names = ("0", "1", "2")
    whole = _index(folder, dict.fromkeys(names, "train"))
    videos = dict(whole.videos)
    for name in ("x", "y"):
        path = folder / f"{name}.mp4"
        path.write_bytes(b"no video")
        videos[name] = Video(name, path, "val")
    index = dataclasses.replace(
        whole,
        videos=videos,
        infos={},
        durations_s=whole.durations_s | {"x": 3.0, "y": 3.0},
        bad_videos={"z": "gone"},
    )
    report = check_videos.check_data_set(index)
    assert [video.name for video in report.videos] == list(names)
    assert set(report.bad_videos) == {"x", "y", "z"}
    assert sum("cannot be read" in problem for problem in report.problems()) == 3


@pytest.mark.parametrize(
    ("rate", "problem"),
    [
        (10.0, None),
        # Off by less than a second.
        (12.0, None),
        (20.0, "its 40 frames last 2.00 s at 20 per second, and the release says 4.00"),
        (5.0, "its 40 frames last 8.00 s at 5 per second, and the release says 4.00 s"),
    ],
)
def test_frames_that_were_taken_at_another_rate_are_a_problem(tmp_path, rate, problem):
    frames = numbered_video.write_folder(tmp_path / "v", range(1, 41))
    segments = (Segment("v", 0.5, 1.5, "a"),)
    video = Video("v", frames, "train", rate)
    index = Index(("a",), {"v": video}, {"v": 4.0}, segments, {})
    (report,) = check_videos.check_data_set(index).videos
    assert (report.problem or "").startswith(problem or "")
    assert (report.problem is None) == (problem is None)


def test_the_command_writes_a_report_and_a_contact_sheet(tmp_path, capsys):
    folder = small_run.write_data_set(tmp_path / "data", videos=5)
    with open(folder / "actions.csv", "a") as file:
        file.write("lost.mp4,0.5,1.5,open,train\n")
    output = tmp_path / "check"
    # The numbers that the videos show are the same in all.
    with pytest.raises(ValueError, match=r"\d+ problems were found"):
        prepare_lib.prepare(
            small_run.config(folder, tmp_path / "run"),
            small_run.preparation(output, "--check"),
        )
    values = json.loads((output / "check.json").read_text())
    assert list(values["bad_videos"]) == ["lost.mp4"]
    assert values["counts"]["val"] == {"videos": 1, "labeled segments": 2}
    assert values["labels"]["train"] == {"open": 2, "shut": 2, "": 4}
    picture = cv2.imread(str(output / "contact.png"))
    assert picture.shape[0] > 500 and picture.std() > 20
    text = capsys.readouterr().out
    assert "Problem: lost.mp4 cannot be read" in text and "open" in text


def test_published_counts_are_compared(tmp_path):
    config = small_run.config(tmp_path, tmp_path, "--dataset=jhmdb", "--split=3")
    assert check_data.published_counts(config.data) == {"train": 663, "test": 265}
    # What the reader leaves of the release, and not the release's own 3,007 and 3,358.
    thumos14 = small_run.config(tmp_path, tmp_path, "--dataset=thumos14").data
    assert check_data.published_counts(thumos14) == {"train": 2860, "test": 3097}
    differing = list(
        check_data._differ_from_published(
            config.data, {"train": {"labeled segments": 663}}
        )
    )
    assert differing == ["test has 0 labeled segments, 265 are published"]
