"""Videos are read frame by frame as they were written, or refused with a reason."""

import contextlib
import pathlib

import av
import cv2
import numpy as np
import pytest

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import pyav_probe, reading
from kd_keras.data.video.info import Video
from tests import numbered_video

_REAL_VIDEOS = pathlib.Path(__file__).parents[2] / "shared" / "data" / "videos"

# Container and codec; options that make B-frames and several key frames.
_FILES = {
    "h264.mp4": dict(codec="libx264", g="10"),
    "b_frames.mp4": dict(codec="libx264", bf="3", b_strategy="0", g="12"),
    "open_groups.mp4": {"codec": "libx264", "x264-params": "open-gop=1:keyint=8"},
    "h264.mkv": dict(codec="libx264", g="10"),
    "vp9.webm": dict(codec="libvpx-vp9", g="10"),
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "10"},
    "mpeg4.avi": dict(codec="mpeg4", g="7"),
    "mpeg4_b_frames.avi": dict(codec="mpeg4", bf="2", g="7"),
    "h264.avi": dict(codec="libx264", g="10"),
    "mjpeg.avi": dict(codec="mjpeg"),
    "pictures.gif": dict(codec="gif", frame_rate=10),
    "h264.ts": dict(codec="libx264", g="10"),
    "h264.flv": dict(codec="libx264", g="10"),
}


def _video(path, frame_rate=None, name="clip 1"):
    return Video(name, pathlib.Path(path), TRAIN, frame_rate)


def _read(path, indices, size=None, frame_rate=None):
    video = _video(path, frame_rate)
    return reading.read_frames(video, reading.probe(video), indices, size)


@pytest.mark.parametrize("name", _FILES)
def test_every_frame_of_every_container_is_the_one_asked_for(tmp_path, name):
    path = numbered_video.write(tmp_path / name, **_FILES[name])
    video = _video(path)
    info = reading.probe(video)
    rate = _FILES[name].get("frame_rate", 30)
    assert len(info.times_s) == 30 and info.times_s[0] == 0
    # Matroska and FLV round to milliseconds.
    np.testing.assert_allclose(info.times_s, np.arange(30) / rate, atol=0.6e-3)
    assert info.duration_s == pytest.approx(30 / rate, abs=2e-3)
    assert (info.height, info.width) == (48, 64)
    for indices in ([*range(30)], [0], [29], [15], [9, 10, 11], [25, 3, 25, 17], [19]):
        frames = reading.read_frames(video, info, np.array(indices))
        assert frames.dtype == np.uint8 and frames.shape == (len(indices), 48, 64, 3)
        assert numbered_video.numbers(frames) == indices


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rates_keep_their_times(tmp_path, name):
    times_ms = np.cumsum(np.random.default_rng(0).integers(10, 200, 40)) + 500
    path = numbered_video.write(tmp_path / name, 40, times_ms=times_ms, g="8")
    info = reading.probe(_video(path))
    np.testing.assert_allclose(
        info.times_s, (times_ms - 500 - (times_ms[0] - 500)) / 1e3, atol=1e-4
    )
    spacing_s = np.median(np.diff(times_ms)) / 1e3
    assert info.duration_s == pytest.approx(info.times_s[-1] + spacing_s, abs=1e-3)
    assert numbered_video.numbers(_read(path, [0, 7, 23, 39])) == [0, 7, 23, 39]


def test_times_are_exact_to_the_last_bit(tmp_path):
    path = numbered_video.write(tmp_path / "a.mp4", 50, frame_rate=25)
    info = reading.probe(_video(path))
    np.testing.assert_array_equal(info.times_s, np.arange(50) / 25)


def test_frames_hidden_by_an_edit_list_are_neither_counted_nor_read(tmp_path):
    whole = numbered_video.write(tmp_path / "whole.mp4", 30, bf="0", g="10")
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None:
                continue
            # The first 4 frames start before 0: a player does not show them.
            shift = 4 * 512
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            target.mux(packet)
    with av.open(str(cut)) as container:
        shown = [
            frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)
        ]
    if len(shown) != 26:
        pytest.skip("this FFmpeg writes no edit list here")
    info = reading.probe(_video(cut))
    assert len(info.times_s) == 26 and info.times_s[0] == 0
    assert numbered_video.numbers(_read(cut, [0, 5, 25])) == [4, 9, 29]


def test_a_recording_that_starts_between_key_frames_starts_at_the_first(tmp_path):
    path = numbered_video.write(
        tmp_path / "a.ts", 60, codec="mpeg2video", g="12", bf="2"
    )
    data = path.read_bytes()
    path.write_bytes(data[int(0.3 * len(data)) // 188 * 188 :])
    info = reading.probe(_video(path))
    shown = numbered_video.numbers(_read(path, range(len(info.times_s))))
    assert 30 < len(shown) < 50
    assert shown == [*range(60 - len(shown), 60)]
    # The first packet of the file, which starts the clock, is 6 frames earlier.
    np.testing.assert_allclose(
        info.times_s, 0.2 + np.arange(len(shown)) / 30, atol=1e-4
    )


def test_titles_may_have_any_encoding(tmp_path):
    path = numbered_video.write(tmp_path / "a.mkv", 9)
    content = path.read_bytes()
    assert content.count(b"Lavf") >= 1
    path.write_bytes(content.replace(b"Lavf", b"L\xe4vf"))
    assert numbered_video.numbers(_read(path, [0, 8])) == [0, 8]


def test_a_stream_that_begins_in_the_middle_is_no_error(tmp_path, monkeypatch):
    path = numbered_video.write(tmp_path / "a.ts", 9)
    opened = av.open

    class Container:
        """PyAV, which looks for the stream among those that it knew at first."""

        def __init__(self, *args, **options):
            self._container = opened(*args, **options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._container.close()

        def __getattr__(self, name):
            return getattr(self._container, name)

        def demux(self, *streams):
            yield from self._container.demux(*streams)
            raise IndexError("list index out of range")

    monkeypatch.setattr(av, "open", Container)
    assert numbered_video.numbers(_read(path, [0, 8])) == [0, 8]


def test_cover_art_is_not_the_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 48, 64, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for target, numbers in ((cover, [77]), (stream, range(9))):
            for number in numbers:
                picture = numbered_video.frame(number)
                picture = av.VideoFrame.from_ndarray(picture, "rgb24")
                container.mux(target.encode(picture))
            container.mux(target.encode())
    assert len(reading.probe(_video(path)).times_s) == 9
    assert numbered_video.numbers(_read(path, [0, 8])) == [0, 8]


def test_one_frame_is_a_video(tmp_path):
    path = numbered_video.write(tmp_path / "one.mp4", 1, frame_rate=20)
    info = reading.probe(_video(path))
    np.testing.assert_array_equal(info.times_s, [0])
    assert info.duration_s == pytest.approx(1 / 20)
    assert len(_read(path, [0, 0, 0])) == 3


def test_names_may_hold_blanks_and_any_letter(tmp_path):
    folder = tmp_path / "Küche № 1"
    folder.mkdir()
    path = numbered_video.write(folder / "мой 視頻 %d.mp4", 5)
    assert numbered_video.numbers(_read(path, [4])) == [4]
    images = numbered_video.write_folder(folder / "кадры é", range(1, 4))
    assert numbered_video.numbers(_read(images, [2], frame_rate=30)) == [3]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_picture_that_lies_on_its_side_is_turned_upright(tmp_path, rotation):
    path = tmp_path / "phone.mp4"
    lying = np.rot90(numbered_video.frame(5), -rotation // 90)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = lying.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(rotation)
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(lying), "rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode())
    info = reading.probe(_video(path))
    assert (info.height, info.width) == (48, 64)
    assert numbered_video.numbers(_read(path, [0])) == [5]
    assert numbered_video.numbers(_read(path, [0], size=(32, 24))) == [5]


def test_pixels_that_are_not_square_become_square(tmp_path):
    path = numbered_video.write(tmp_path / "dv.mp4", 3, **{"x264-params": "sar=2/1"})
    info = reading.probe(_video(path))
    assert (info.height, info.width) == (48, 128)
    assert _read(path, [1]).shape == (1, 48, 128, 3)


@pytest.mark.parametrize("size", [(32, 24), (20, 30), (96, 80), (33, 25)])
def test_frames_are_scaled_to_the_size_asked_for(tmp_path, size):
    path = numbered_video.write(tmp_path / "a.mp4", 12, crf="1")
    frames = _read(path, [3, 9], size=size)
    assert frames.shape == (2, size[1], size[0], 3)
    assert numbered_video.numbers(frames) == [3, 9]
    if size == (32, 24):
        area = cv2.resize(
            numbered_video.frame(3), size, interpolation=cv2.INTER_AREA
        ).astype(int)
        assert np.abs(frames[0].astype(int) - area).mean() < 3


def test_colors_stay_what_they_are(tmp_path):
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 120, 40]], np.uint8)
    frames = np.broadcast_to(colors[:, None, None], (4, 32, 32, 3))
    reading.write_video(tmp_path / "a.mp4", frames, 10)
    read = _read(tmp_path / "a.mp4", [0, 1, 2, 3])
    assert np.abs(read.astype(int) - frames).max() < 12


@pytest.mark.parametrize("where", ["too late", "nowhere"])
def test_a_file_that_cannot_be_sought_is_read_from_its_start(
    tmp_path, monkeypatch, where
):
    path = numbered_video.write(tmp_path / "a.mp4", 40, g="10", sc_threshold="0")
    video = _video(path)
    info = reading.probe(video)
    assert info.key_frames.tolist() == [0, 10, 20, 30]
    opened = av.open

    class Container:
        def __init__(self, *args, **options):
            self._container = opened(*args, **options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._container.close()

        def __getattr__(self, name):
            return getattr(self._container, name)

        def seek(self, stamp, **options):
            if where == "nowhere":
                raise av.error.PermissionError(1, "Operation not permitted")
            self._container.seek(stamp + 15 * 512, **options)

    monkeypatch.setattr(av, "open", Container)
    frames = reading.read_frames(video, info, [12, 25])
    assert numbered_video.numbers(frames) == [12, 25]


def test_no_stream_is_asked_once_its_file_is_closed(tmp_path, monkeypatch):
    # Its memory is free then: reading it ends the process now and then.
    path = numbered_video.write(tmp_path / "a.mp4", 1)
    opened, is_open, states = av.open, [], []

    class Stream:
        def __init__(self, stream):
            self._stream = stream

        def __getattr__(self, name):
            states.append(bool(is_open))
            return getattr(self._stream, name)

    @contextlib.contextmanager
    def noted(*args, **options):
        with opened(*args, **options) as container:
            is_open.append(True)
            yield container
            is_open.pop()

    spacing = pyav_probe._spacing
    monkeypatch.setattr(av, "open", noted)
    monkeypatch.setattr(
        pyav_probe, "_spacing", lambda times_s, s: spacing(times_s, Stream(s))
    )
    # One frame has no spacing of its own: it is that of the stream's rate.
    assert reading.probe(_video(path)).duration_s > 0
    assert states and all(states)


def test_positions_outside_the_video_are_refused(tmp_path):
    path = numbered_video.write(tmp_path / "a.mp4", 5)
    for indices in ([], [-1], [5]):
        with pytest.raises(ValueError, match="numbered from 0 to 4"):
            _read(path, indices)


# Writing.


@pytest.mark.parametrize("size", [(48, 64), (49, 63)])
def test_written_video_reads_back(tmp_path, size):
    frames = [numbered_video.frame(k, *size) for k in range(20)]
    reading.write_video(tmp_path / "a b.mp4", iter(frames), 12.5)
    info = reading.probe(_video(tmp_path / "a b.mp4"))
    np.testing.assert_allclose(info.times_s, np.arange(20) / 12.5, atol=1e-9)
    assert (info.height, info.width) == (48 + size[0] % 2 * 2, 64)
    assert numbered_video.numbers(_read(tmp_path / "a b.mp4", range(20))) == [
        *range(20)
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["a b.mp4"]


def test_a_video_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    def frames():
        yield numbered_video.frame(0)
        raise RuntimeError("camera unplugged")

    with pytest.raises(RuntimeError, match="unplugged"):
        reading.write_video(tmp_path / "a.mp4", frames(), 30)
    for bad in (np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8), np.uint8)):
        with pytest.raises(ValueError, match="must be uint8 RGB"):
            reading.write_video(tmp_path / "a.mp4", bad, 30)
    with pytest.raises(ValueError, match="no frames"):
        reading.write_video(tmp_path / "a.mp4", [], 30)
    with pytest.raises(ValueError, match="frame_rate must be positive"):
        reading.write_video(tmp_path / "a.mp4", [], 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not _REAL_VIDEOS.exists(), reason="the sample videos are not here")
def test_real_recordings_read_the_same_from_the_middle_as_from_the_start():
    paths = sorted(_REAL_VIDEOS.glob("*/*.m[kp][v4]"))
    assert len(paths) > 30
    for path in paths[::9]:
        video = _video(path)
        info = reading.probe(video)
        assert (np.diff(info.times_s) > 0).all()
        indices = np.linspace(0, min(len(info.times_s), 200) - 1, 9).astype(int)
        together = reading.read_frames(video, info, indices, (32, 24))
        for index, frame in zip(indices, together, strict=True):
            alone = reading.read_frames(video, info, [index], (32, 24))
            np.testing.assert_array_equal(alone[0], frame)
