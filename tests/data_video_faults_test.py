"""Recordings whose index, key frames or times are wrong are read right, or refused."""

import fractions
import pathlib
import struct
import types

import numpy as np
import pytest

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import clock_faults, reading
from kd_keras.data.video.info import Video
from tests import numbered_video


def _video(path):
    return Video("clip 1", pathlib.Path(path), TRAIN)


def _numbers_by_seeking(path):
    video = _video(path)
    info = reading.probe(video)
    return [
        numbered_video.numbers(reading.read_frames(video, info, np.array([k])))[0]
        for k in range(len(info.times_s))
    ]


def _numbers_in_order(path):
    video = _video(path)
    frames = reading.iterate_frames(video, reading.probe(video))
    return numbered_video.numbers([frame.copy() for frame in frames])


def test_an_index_of_a_frame_that_is_gone_leads_to_no_other(tmp_path):
    path = numbered_video.write(tmp_path / "a.avi", 24, codec="mjpeg")
    content = path.read_bytes()
    starts = [k for k in range(len(content)) if content.startswith(b"00dc", k)]
    start = starts[15]
    length = 8 + struct.unpack_from("<I", content, start + 4)[0]
    path.write_bytes(content[:start] + content[start + length + length % 2 :])
    numbers = _numbers_in_order(path)
    assert len(numbers) == 23 and len({*range(24)} - {*numbers}) == 1
    assert numbers == sorted(numbers)
    assert _numbers_by_seeking(path) == numbers


def test_frames_that_only_the_container_calls_key_frames_start_nothing(tmp_path):
    path = numbered_video.write(tmp_path / "a.mp4", 24, codec="mpeg4", g="8")
    content = path.read_bytes()
    # Without the list of key frames every frame is one.
    assert content.count(b"stss") == 1
    path.write_bytes(content.replace(b"stss", b"free"))
    assert len(reading.probe(_video(path)).key_frames) == 24
    assert _numbers_by_seeking(path) == [*range(24)]


def test_times_that_nobody_can_follow_are_named():
    base = fractions.Fraction(1, 1000)

    def fault(*times):
        packets = [types.SimpleNamespace(pts=pts, dts=dts) for pts, dts in times]
        return clock_faults.of_packets(packets, base)

    assert fault((80, 0), (40, 40), (160, 80), (None, 120), (120, None)) is None
    assert fault() is None
    # A frame in a minute, as of a building site, with frames that refer to later ones.
    assert fault(*((60_000 * (k + 3), 60_000 * k) for k in range(9))) is None
    # A camera that was stopped for 90 s.
    assert fault((40, 0), (90_040, 40), (80, 80), (90_080, 90_000)) is None
    assert "what is decoded at 0.04 s is to be shown +90.00 s" in fault(
        (40, 0), (90_040, 40), (80, 80)
    )
    assert "shown -90.00 s from then" in fault((10_000, 100_000))
    assert "it goes back by 4.00 s at 5.00 s" in fault(
        (0, 0), (5000, 5000), (1000, 1000)
    )


@pytest.mark.parametrize("is_long_form", [False, True])
def test_a_fragment_of_millions_of_frames_is_refused_at_once(tmp_path, is_long_form):
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = numbered_video.write(
        tmp_path / "a.mp4", 24, g="8", container_options=options
    )
    content = path.read_bytes()
    start = content.rindex(b"trun")
    if is_long_form:
        # The size is then read from what the flags and the number were.
        size, number = struct.pack(">I", 1), 12
    else:
        size, number = content[start - 4 : start], 8
    changed = bytearray(content)
    changed[start - 4 : start] = size
    changed[start + number + 4 - 4 : start + number + 4] = struct.pack(">I", 2**25)
    path.write_bytes(changed)
    reason = r"clip 1: .*a\.mp4 is damaged: a fragment of \d+ bytes has 33554432 frames"
    with pytest.raises(reading.BadVideo, match=reason):
        reading.probe(_video(path))
