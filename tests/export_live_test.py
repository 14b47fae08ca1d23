import contextlib
import csv
import dataclasses
import io
import json
import pathlib
import re
import socket
import sys
import threading
import types

import numpy as np
import pytest

from export import (
    anticipation,
    command,
    live,
    live_display,
    live_source,
    predict,
    timeline,
)
from kd_keras.data.segments import TEST
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video, served_colors

SPEC = served_colors.SPEC
SIZE = SPEC.clip_format.resized(48, 64)


def frames(count, rate=10.0, before=lambda number: None):
    """Frames of a color that changes."""
    for number in range(count):
        before(number)
        frame = np.full((*SIZE, 3), (number % 256, 255 - number % 256, 60), np.uint8)
        yield number / rate, frame, frame


def followed(source, student=served_colors.probabilities, **arguments):
    """What was found, the times shown, and the `LiveAnticipations`."""
    found = []
    given = {"every_s": 0.5, **arguments}
    following = live.LiveAnticipations(student, SPEC, add=found.append, **given)
    shown = [time_s for time_s, _ in following.follow(source)]
    return found, shown, following


@pytest.mark.parametrize("pause_ms", [0, 1500])
def test_windows_are_those_of_a_file(pause_ms, tmp_path):
    # Before the last frame.
    times_ms = [*range(0, 2960, 40), 2960 + pause_ms]
    path = numbered_video.write(
        tmp_path / "video.mp4", num_frames=75, frame_rate=25, times_ms=times_ms
    )
    video = Video("video", path, TEST)
    info = reading.probe(video)
    expected = anticipation.anticipations(
        served_colors.probabilities, SPEC, video, info, 0.3
    )
    source = live_source.frames(f"file://{path}", SPEC.clip_format, threading.Event())
    found, shown, _ = followed(source, every_s=0.3, waits=True)
    np.testing.assert_allclose(shown, info.times_s, atol=1e-6)
    expected = list(expected)
    assert len(found) == len(expected) == 7 + pause_ms // 300
    for one, other in zip(found, expected, strict=True):
        assert one.time_s == pytest.approx(other.time_s)
        assert one.happens_s == pytest.approx(other.happens_s)
        assert one.classes == other.classes
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_a_source_shorter_than_the_clip_is_seen_whole():
    found, _, _ = followed(frames(5), waits=True)
    (only,) = found
    assert only.time_s == pytest.approx(0.5)


def test_a_slow_student_gets_the_newest_window_and_nothing_grows():
    asked, released = threading.Event(), threading.Event()
    sizes = []

    def slow(clip):
        asked.set()
        assert released.wait(60)
        return served_colors.probabilities(clip)

    def before(number):
        if number == 11:
            # The first window is in the student's hands from here on.
            assert asked.wait(60)
        if number > 11:
            sizes.append(len(following._window._frames))
        if number == 2999:
            released.set()

    found = []
    following = live.LiveAnticipations(slow, SPEC, 0.5, found.append)
    shown = list(following.follow(frames(3000, before=before)))
    assert len(shown) == 3000
    # Windows end at 1.0, 1.5, ... 300.0 s: the first, the newest, and perhaps the one
    # that came between these.
    offered = 599
    assert found[0].time_s == 1.0 and found[-1].time_s == 300.0
    assert len(found) in (2, 3)
    assert following.dropped == offered - len(found)
    assert max(sizes) <= 12


def test_a_pause_of_a_camera_leaves_out_the_windows_that_nothing_came_in():
    def paused():
        yield from frames(30)
        for time_s, *both in frames(30):
            yield 3600 + time_s, *both

    asked = []

    def student(clip):
        asked.append(clip)
        return served_colors.probabilities(clip)

    found, _, following = followed(paused(), student)
    times_s = [item.time_s for item in found]
    # No window ends from 4.5 s, a window's length after the last frame, to the pause's
    # end.
    assert not [time_s for time_s in times_s if 4.0 < time_s < 3600]
    assert times_s[-1] == 3603.0 and len(asked) == len(found) <= 12
    # Windows end at 4.0 s, 4.5 s, ... 3600.0 s in the pause.
    assert following.empty == 2 * 3596 + 1
    offered = 2 * 3602 + 1
    assert following.empty + following.dropped == offered - len(found)


def test_a_pause_is_not_called_a_slow_student(no_network, monkeypatch, capsys):
    def paused(video, clip_format, stops):
        yield from frames(15)
        for time_s, *both in frames(5):
            yield 60 + time_s, *both

    monkeypatch.setattr(live_source, "frames", paused)
    monkeypatch.setattr(live_source, "can_wait", lambda video: False)
    table(video="rtsp://host/path", headless=True)
    said = capsys.readouterr().err
    # Windows end at 2.5 s, 3.0 s, ... 60.0 s in the pause.
    assert "116 windows were left out: no frame came in them." in said
    # Frames came in three windows before it, and in one after it.
    found = re.search(r"(\d+) windows were dropped", said)
    assert found is None or int(found[1]) < 4


def test_times_go_on_if_the_clock_of_a_source_is_set_back(tmp_path, capsys):
    """Two recordings of MPEG-TS are joined to one file so."""
    path = numbered_video.write(tmp_path / "v.ts", num_frames=50, frame_rate=25, bf="0")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * path.read_bytes())
    source = live_source.frames(f"file://{joined}", SPEC.clip_format, threading.Event())
    times_s = [time_s for time_s, _, _ in source]
    np.testing.assert_allclose(np.diff(times_s), 0.04, atol=1e-6)
    assert len(times_s) > 90
    assert capsys.readouterr().err.count("its clock was set back by") == 1


def test_a_source_that_waits_loses_no_window():
    found, _, following = followed(frames(300), waits=True)
    assert [item.time_s for item in found] == pytest.approx(
        [1 + i / 2 for i in range(59)]
    )
    assert following.dropped == 0


def test_frames_of_a_window_are_bounded_at_any_rate():
    window = live._Window(SPEC)
    for number in range(8000):
        window.add(number / 4000, np.array(number / 4000))
        assert len(window._frames) <= anticipation.MOST_FRAMES
    # The frames that are on screen in the middles of four parts of the last second.
    found = window.clip(2.0)
    np.testing.assert_allclose(found, [1.125, 1.375, 1.625, 1.875], atol=0.01)


def test_what_the_student_cannot_do_ends_the_source():
    def broken(clip):
        raise ValueError("out of order")

    with pytest.raises(ValueError, match="out of order"):
        followed(frames(10**9), student=broken)


def test_sources_are_told_from_files():
    for source in ("-", "0", "/dev/video2", "rtsp://host/path"):
        assert live_source.is_live(source)
    for file in ("video.mp4", "./0", "videos/dev/0.mkv", "-.mp4"):
        assert not live_source.is_live(file)


def test_a_source_that_is_none_is_named():
    for video in ("97", "tcp://127.0.0.1:1"):
        with pytest.raises(ValueError, match=f"--video={video}: .*Expected a camera"):
            list(live_source.frames(video, SPEC.clip_format, threading.Event()))


def test_a_stream_of_the_network_is_followed(tmp_path):
    path = numbered_video.write(tmp_path / "v.ts", num_frames=50, frame_rate=25, bf="0")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(path.read_bytes())

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        source = live_source.frames(address, SPEC.clip_format, threading.Event())
        pictures = [shown for _, _, shown in source]
        thread.join()
    assert numbered_video.numbers(pictures) == list(range(50))


@pytest.fixture
def no_network(monkeypatch):
    """Any model is then the stand-in that tells colors apart."""
    fake = types.ModuleType("export.exported_student")

    class Student:
        spec = SPEC

        def __init__(self, model):
            pass

        def __call__(self, clips):
            return served_colors.probabilities(clips)

    fake.ExportedStudent = Student
    monkeypatch.setitem(sys.modules, fake.__name__, fake)


def table(**given):
    text = io.StringIO()
    predict.run(predict.Request(model="any", **given), text)
    return text.getvalue()


def test_standard_input_gives_what_the_file_gives(no_network, monkeypatch, tmp_path):
    path = numbered_video.write(tmp_path / "v.ts", num_frames=60, frame_rate=25, bf="0")
    expected = table(video=str(path), timeline=[str(tmp_path / "file.csv")])
    assert (tmp_path / "file.csv").read_text("utf-8") == expected
    times_s = [float(row["time_s"]) for row in csv.DictReader(io.StringIO(expected))]
    assert times_s[::3] == [1.0, 1.5, 2.0]
    output, found = tmp_path / "out.mp4", tmp_path / "found.json"
    with path.open("rb") as content:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=content))
        given = {"video": "-", "output": str(output), "timeline": [str(found)]}
        assert table(**given, headless=True) == expected
    assert [item["time_s"] for item in json.loads(found.read_text("utf-8"))] == [
        pytest.approx(time_s) for time_s in times_s[::3]
    ]
    assert len(reading.probe(Video("out", output, TEST)).times_s) == 60


@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.h264", "libx264"), ("v.avi", "libx264"), ("v.m2v", "mpeg2video")],
)
def test_streams_without_times_or_a_start_begin_at_0(tmp_path, name, codec):
    """A Raspberry Pi's camera writes H.264 alone; AVI keeps no times of B-frames."""
    path = numbered_video.write(tmp_path / name, 50, codec, frame_rate=25, bf="2")
    source = live_source.frames(f"file://{path}", SPEC.clip_format, threading.Event())
    times_s, _, pictures = zip(*source, strict=True)
    np.testing.assert_allclose(times_s, np.arange(50) / 25, atol=1e-6)
    assert numbered_video.numbers(pictures) == list(range(50))
    probed = reading.probe(Video(name, path, TEST))
    np.testing.assert_allclose(probed.times_s, times_s, atol=1e-6)


def test_a_stream_that_breaks_off_leaves_what_was_seen(
    no_network, monkeypatch, tmp_path
):
    def broken(video, clip_format, stops):
        yield from frames(40)
        raise ValueError(f"--video={video}: Connection timed out")

    monkeypatch.setattr(live_source, "frames", broken)
    output, found = tmp_path / "out.mp4", tmp_path / "found.csv"
    given = {"video": "rtsp://host/path", "timeline": [str(found)]}
    with pytest.raises(ValueError, match="Connection timed out"):
        table(**given, output=str(output), headless=True)
    with found.open(encoding="utf-8", newline="") as file:
        last = [float(row["time_s"]) for row in csv.DictReader(file)][-1]
    assert last == 4.0
    assert len(reading.probe(Video("out", output, TEST)).times_s) > 90


@pytest.mark.skipif(sys.platform != "linux", reason="other desktops have no $DISPLAY")
def test_a_window_without_a_display_is_refused(no_network, monkeypatch, tmp_path):
    path = numbered_video.write(tmp_path / "v.ts", num_frames=5)
    monkeypatch.delenv("DISPLAY", raising=False)
    with path.open("rb") as content:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=content))
        with pytest.raises(ValueError, match="No window can be opened .*--headless"):
            table(video="-")


def test_a_stop_ends_the_source(tmp_path):
    path = numbered_video.write(tmp_path / "video.mp4", num_frames=50)
    stops = threading.Event()
    source = live_source.frames(f"file://{path}", SPEC.clip_format, stops)
    taken = []
    for item in source:
        taken.append(item)
        if len(taken) == 7:
            stops.set()
    assert len(taken) == 7


def test_a_shown_stream_keeps_its_time():
    times_s = (5.0, 5.1, 5.5, 5.6, 5.65)
    source = ((s, np.full((2, 2, 3), i, np.uint8)) for i, s in enumerate(times_s))
    shown = [int(frame[0, 0, 0]) for frame in live_display.at_rate(source, 10.0)]
    assert shown == [0, 1, 1, 1, 1, 2, 3, 4]


def test_timelines_are_complete_or_not_there(tmp_path):
    item = anticipation.Anticipation(1.0, None, ('say "hi", ö', "b"), (0.75, 0.25))
    paths = [str(tmp_path / name) for name in ("t.csv", "t.json")]
    with contextlib.ExitStack() as stack:
        for path in paths:
            stack.enter_context(timeline.written(path)).add(item)
        assert not any(pathlib.Path(path).exists() for path in paths)
    with open(paths[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(item.classes)
    classes = [{"class": 'say "hi", ö', "probability": 0.75}]
    classes.append({"class": "b", "probability": 0.25})
    assert json.loads(pathlib.Path(paths[1]).read_text("utf-8")) == [
        {"time_s": 1.0, "happens_s": None, "classes": classes}
    ]
    with pytest.raises(RuntimeError), timeline.written(paths[1]) as written:
        written.add(item)
        raise RuntimeError
    assert len(json.loads(pathlib.Path(paths[1]).read_text("utf-8"))) == 1
    with timeline.written(str(tmp_path / "empty.json")):
        pass
    assert json.loads((tmp_path / "empty.json").read_text()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "empty.json",
        "t.csv",
        "t.json",
    ]


def test_the_home_folder_is_meant_in_every_flag_of_paths(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    given = {
        "model": "~/export",
        "video": "v.mp4",
        "output": "~/v.mp4",
        "timeline": ["~/v.csv", "v.json"],
    }
    values = {
        field.name: types.SimpleNamespace(value=given.get(field.name))
        for field in dataclasses.fields(predict.Request)
    }
    found = command.request(predict.Request, values, predict._PATHS)
    assert (found.model, found.output) == ("/home/ann/export", "/home/ann/v.mp4")
    assert found.timeline == ["/home/ann/v.csv", "v.json"]
