"""A header that lies about the duration is remarked on; a file cut off is refused."""

import pathlib
import struct

import av
import numpy as np
import pytest

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video

_CASES = pathlib.Path(__file__).parents[2] / "shared" / "cases"
_FILES = {
    "a.mkv": dict(codec="libx264", g="10"),
    "a.webm": dict(codec="libvpx", g="10"),
    "a.mp4": dict(codec="libx264", g="10"),
    "a.avi": dict(codec="mpeg4", g="10"),
    "a.flv": dict(codec="libx264", g="10"),
}


def _video(path):
    return Video("clip 1", pathlib.Path(path), TRAIN)


def _probe(path):
    return reading.probe(_video(path))


def _numbers(path, indices):
    frames = reading.read_frames(_video(path), _probe(path), indices)
    return numbered_video.numbers(frames)


def _write(folder, name, header_s=None):
    """4 s of frames at 25 Hz, and a header that says otherwise."""
    path = numbered_video.write(folder / name, 100, frame_rate=25, **_FILES[name])
    if header_s is None:
        return path
    content = bytearray(path.read_bytes())
    if path.suffix in (".mkv", ".webm"):
        # The element Duration, in milliseconds.
        place = content.index(b"\x44\x89\x88") + 3
        struct.pack_into(">d", content, place, 1e3 * header_s)
    elif path.suffix == ".mp4":
        place = content.index(b"mvhd") + 16
        (ticks,) = struct.unpack_from(">I", content, place)
        struct.pack_into(">I", content, place + 4, int(ticks * header_s))
    elif path.suffix == ".avi":
        struct.pack_into("<I", content, content.index(b"strh") + 8 + 32, 25 * header_s)
    else:
        place = content.index(b"duration") + len("duration") + 1
        struct.pack_into(">d", content, place, header_s)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("header_s", [2, 60, None])
def test_the_frames_that_are_there_count(tmp_path, name, header_s):
    path = _write(tmp_path, name, header_s)
    info = _probe(path)
    np.testing.assert_allclose(info.times_s, np.arange(100) / 25, atol=0.6e-3)
    assert info.duration_s == pytest.approx(4, abs=2e-3)
    assert _numbers(path, [0, 42, 99]) == [0, 42, 99]
    # MP4 lists the duration of every frame, which decoders believe instead.
    if header_s is None or name == "a.mp4":
        assert not info.remarks
    else:
        (remark,) = info.remarks
        assert f"names {header_s}.00 s" in remark and "ends at 4.0" in remark


def test_pauses_before_b_frames_are_no_lie_of_the_header(tmp_path):
    # Ten frames, a pause of 3 s, and ten more: the last is shown from 4.8 to 4.9 s.
    times_ms = [*range(0, 1000, 100), *range(3900, 4900, 100)]
    path = numbered_video.write(
        tmp_path / "a.mp4", 20, frame_rate=10, times_ms=times_ms, bf="3"
    )
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        named_s = max(float((p.pts + p.duration) * p.time_base) for p in packets)
        assert container.duration == 4_900_000 and named_s > 6
    info = _probe(path)
    assert info.duration_s == pytest.approx(4.9) and not info.remarks


@pytest.mark.parametrize("name", [n for n in _FILES if n != "a.mp4"])
@pytest.mark.parametrize("header_s", [4, 60])
@pytest.mark.parametrize("part", [0.6, 0.75])
def test_a_file_that_was_cut_off_is_refused(tmp_path, name, header_s, part):
    path = _write(tmp_path, name, header_s)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    reason = rf"cut off or damaged: \d\.\d\d s can be read of the {header_s}"
    with pytest.raises(reading.BadVideo, match=reason):
        _probe(path)


@pytest.mark.parametrize("part", [0.5, 0.8, 0.95])
def test_fragments_that_were_cut_off_are_refused(tmp_path, part):
    path = numbered_video.write(
        tmp_path / "a.mp4",
        100,
        container_options={"movflags": "frag_keyframe+empty_moov"},
        g="10",
    )
    assert len(_probe(path).times_s) == 100
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(reading.BadVideo, match=r"cut off: \d+ bytes of at least \d+"):
        _probe(path)


def test_a_recording_that_nobody_sees_is_remarked_on(tmp_path):
    path = _write(tmp_path, "a.mp4")
    path.write_bytes(2 * path.read_bytes())
    info = _probe(path)
    assert info.duration_s == pytest.approx(4) and _numbers(path, [99]) == [99]
    (remark,) = info.remarks
    assert "joined to it at 4.00 s" in remark


def test_joined_avi_files_are_one_film(tmp_path):
    path = _write(tmp_path, "a.avi")
    path.write_bytes(2 * path.read_bytes())
    info = _probe(path)
    np.testing.assert_allclose(info.times_s, np.arange(200) / 25)
    assert _numbers(path, [50, 150]) == [50, 50]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.h264", "libx264"), ("a.h265", "libx265")]
)
@pytest.mark.parametrize("frame_rate", [25, 30])
def test_a_stream_without_a_container_is_read_at_its_rate(
    tmp_path, name, codec, frame_rate
):
    # libx265 reports to the console unless it is told not to.
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = numbered_video.write(
        tmp_path / name, 60, codec, frame_rate, bf="2", g="10", **quiet
    )
    info = _probe(path)
    np.testing.assert_allclose(info.times_s, np.arange(60) / frame_rate)
    assert info.duration_s == pytest.approx(60 / frame_rate)
    for index in (0, 7, 31, 59):
        assert _numbers(path, [index]) == [index]


@pytest.mark.skipif(not _CASES.is_dir(), reason=f"{_CASES} is not there")
@pytest.mark.parametrize("name", ["elementary.h265", "header_says_60_s.mkv"])
def test_files_that_were_refused_have_their_frames(name):
    info = _probe(_CASES / name)
    assert len(info.times_s) == 100 and info.duration_s == pytest.approx(4)
    with av.open(str(_CASES / name)) as container:
        decoded = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    frames = reading.read_frames(_video(_CASES / name), info, [0, 50, 99])
    np.testing.assert_allclose(frames, [decoded[i] for i in (0, 50, 99)], atol=3)
    if name == "header_says_60_s.mkv":
        (remark,) = info.remarks
        assert "60.00 s" in remark and "4.00 s" in remark
    else:
        assert not info.remarks
