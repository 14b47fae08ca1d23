"""Time runs from the start of the file, as players show it."""

import pathlib

import numpy as np
import pytest

from kd_keras.data.clips import frames as clip_frames
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video

_CASES = pathlib.Path(__file__).parents[2] / "shared" / "cases"
_needs_cases = pytest.mark.skipif(not _CASES.is_dir(), reason=f"{_CASES} is not there")

# Container, codec and options; all make B-frames and several key frames.
_H264 = dict(codec="libx264", g="10", bf="2")
_MPEG2 = dict(codec="mpeg2video", g="10", bf="2")
_FILES = {
    "a.mp4": _H264,
    "a.mov": _H264,
    "a.mkv": _H264,
    "a.ts": _H264,
    "b.ts": _MPEG2,
    "a.mpg": _MPEG2,
}


def _video(path):
    return Video("clip 1", pathlib.Path(path), TRAIN)


def _numbers(path, indices=None):
    video = _video(path)
    info = reading.probe(video)
    indices = range(len(info.times_s)) if indices is None else indices
    return numbered_video.numbers(reading.read_frames(video, info, indices))


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("starts_s", [0, 7])
def test_a_picture_that_starts_after_the_sound_keeps_its_time(tmp_path, name, starts_s):
    times_s = 1.52 + np.arange(50) / 25
    path = numbered_video.write_recording(
        tmp_path / name, times_s, sound_s=(0, 3), starts_s=starts_s, **_FILES[name]
    )
    info = reading.probe(_video(path))
    np.testing.assert_allclose(info.times_s, times_s, atol=0.6e-3)
    assert info.duration_s == pytest.approx(3.52, abs=1e-3)
    assert info.blanks_s == ((0.0, pytest.approx(1.52, abs=1e-3)),)
    assert info.frame_rate == pytest.approx(25)
    for indices in ([0], [0, 23, 49], [30, 12]):
        assert _numbers(path, indices) == indices


@pytest.mark.parametrize("name", _FILES)
def test_a_picture_that_starts_before_the_sound_starts_the_clock(tmp_path, name):
    times_s = 1.52 + np.arange(50) / 25
    path = numbered_video.write_recording(
        tmp_path / name, times_s, sound_s=(2.52, 4), **_FILES[name]
    )
    info = reading.probe(_video(path))
    np.testing.assert_allclose(info.times_s, np.arange(50) / 25, atol=0.6e-3)
    assert info.times_s[0] == 0 and not info.blanks_s and not info.remarks


def test_times_of_a_late_picture_are_exact_to_the_last_bit(tmp_path):
    path = numbered_video.write_recording(
        tmp_path / "a.mp4", 2 + np.arange(50) / 25, sound_s=(0, 3)
    )
    info = reading.probe(_video(path))
    np.testing.assert_array_equal(info.times_s, np.arange(50, 100) / 25)


@pytest.mark.parametrize("modality", ["rgb", "flow"])
@pytest.mark.parametrize("short_clip", ["resample", "loop", "pad_last"])
def test_before_the_first_frame_it_is_repeated(modality, short_clip):
    info = reading.VideoInfo(1.5 + np.arange(50) / 25, 3.5, 48, 64)
    early = reading.VideoInfo(np.arange(50) / 25, 2.0, 48, 64)
    clip_format = ClipFormat(12, 16, modality=modality, short_clip=short_clip)
    video = _video("a.mp4")
    for start_s, end_s in (
        (-0.2, 0.1),
        (-0.2, 0.3),
        (0.0, 0.5),
        (0.2, 0.9),
        (1.8, 2.4),
    ):
        expected = clip_frames.clip_indices(video, early, start_s, end_s, clip_format)
        found = clip_frames.clip_indices(
            video, info, start_s + 1.5, end_s + 1.5, clip_format
        )
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("streams", [1, 2])
def test_the_first_of_several_video_streams_is_used(tmp_path, streams):
    path = numbered_video.write_recording(
        tmp_path / "a.mkv", np.arange(20) / 25, streams=streams
    )
    assert _numbers(path) == [*range(20)]
    remarks = reading.probe(_video(path)).remarks
    assert len(remarks) == streams - 1
    assert all("2 video streams" in r and "0.00 s" in r for r in remarks)


def _joined(folder, name, times_s, starts_s, sound_s=None):
    """Two recordings, the second of which has its own clock, one behind the other."""
    parts = [
        numbered_video.write_recording(
            folder / f"{number}{name}",
            np.asarray(times_s),
            starts_s=start_s,
            sound_s=sound_s,
            **_FILES[name],
        ).read_bytes()
        for number, start_s in enumerate((3, starts_s))
    ]
    path = folder / name
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("name", ["a.ts", "b.ts", "a.mpg"])
@pytest.mark.parametrize("starts_s", [0, 3, 100])
def test_recordings_that_were_joined_follow_each_other(tmp_path, name, starts_s):
    path = _joined(tmp_path, name, np.arange(50) / 25, starts_s)
    info = reading.probe(_video(path))
    np.testing.assert_allclose(info.times_s, np.arange(100) / 25, atol=1e-3)
    assert info.duration_s == pytest.approx(4.0, abs=1e-3) and not info.blanks_s
    assert _numbers(path) == [*range(50)] * 2
    for index in (0, 30, 49, 50, 51, 63, 85, 99):
        assert _numbers(path, [index]) == [index % 50]
    (remark,) = info.remarks
    assert "jumps" in remark and "at 2.00 s" in remark


@pytest.mark.parametrize("name", ["a.ts", "b.ts", "a.mpg"])
def test_a_recording_that_was_joined_starts_when_the_sound_before_it_ends(
    tmp_path, name
):
    times_s = 0.52 + np.arange(50) / 25
    path = _joined(tmp_path, name, times_s, 0, sound_s=(0, 3))
    info = reading.probe(_video(path))
    expected_s = np.concatenate([times_s, 3 + times_s])
    np.testing.assert_allclose(info.times_s, expected_s, atol=0.08)
    assert _numbers(path) == [*range(50)] * 2
    assert _numbers(path, [77]) == [27]


def test_a_short_break_of_the_camera_stays_a_gap(tmp_path):
    path = _joined(tmp_path, "a.ts", np.arange(50) / 25, 3 + 2 + 5)
    info = reading.probe(_video(path))
    expected_s = np.concatenate([np.arange(50), 175 + np.arange(50)]) / 25
    np.testing.assert_allclose(info.times_s, expected_s, atol=1e-3)
    assert info.blanks_s == ((pytest.approx(2.0), pytest.approx(7.0)),)
    assert info.frame_rate == pytest.approx(25) and _numbers(path, [50]) == [0]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_camera_that_stood_still_leaves_a_gap(tmp_path, name):
    times_s = np.concatenate([np.arange(50), 2550 + np.arange(50)]) / 25
    path = numbered_video.write_recording(tmp_path / name, times_s, **_FILES[name])
    info = reading.probe(_video(path))
    np.testing.assert_allclose(info.times_s, times_s, atol=1e-3)
    assert info.blanks_s == ((pytest.approx(2.0), pytest.approx(102.0)),)
    assert info.frame_rate == pytest.approx(25)
    assert _numbers(path, [49, 50, 99]) == [49, 50, 99]


def test_a_clock_that_goes_back_where_it_must_not_is_refused(tmp_path):
    path = _joined(tmp_path, "a.mkv", np.arange(50) / 25, 0)
    reason = r"clip 1: .*a\.mkv is not on one clock: it goes back by .* s at 1\.\d+ s"
    with pytest.raises(reading.BadVideo, match=reason):
        reading.probe(_video(path))


def test_a_gap_of_days_is_refused(tmp_path):
    times_s = [0, 0.04, 200_000, 200_000.04]
    path = numbered_video.write_recording(tmp_path / "a.mkv", times_s, bf="0")
    with pytest.raises(reading.BadVideo, match=r"jumps to 200000 s at frame 2"):
        reading.probe(_video(path))


def test_an_mpeg_program_stream_reads_the_same_from_the_middle(tmp_path):
    # Most of its packets have no time of their own.
    path = numbered_video.write_recording(
        tmp_path / "a.mpg", np.arange(120) / 25, **_MPEG2
    )
    for index in (0, 33, 48, 57, 90, 119):
        assert _numbers(path, [index]) == [index]


@_needs_cases
def test_two_recordings_are_one_film():
    info = reading.probe(_video(_CASES / "two_recordings.ts"))
    np.testing.assert_allclose(info.times_s, np.arange(200) / 25, atol=1e-6)
    assert info.duration_s == pytest.approx(8.0)


@_needs_cases
@pytest.mark.parametrize(
    ("name", "first", "last"), [("flash.mp4", 5.0, 5.36), ("flash_cut.mp4", 4.49, 4.85)]
)
def test_a_cut_by_stream_copy_moves_the_flash_as_players_show_it(name, first, last):
    video = _video(_CASES / name)
    info = reading.probe(video)
    frames = reading.read_frames(video, info, range(len(info.times_s)), (16, 16))
    bright_s = info.times_s[frames.mean(axis=(1, 2, 3)) > 128]
    assert bright_s[0] == pytest.approx(first) and bright_s[-1] == pytest.approx(last)
