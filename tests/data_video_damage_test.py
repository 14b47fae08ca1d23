"""From a damaged frame to the next key frame nothing is used; all else is."""

import pathlib

import av
import numpy as np
import pytest

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import damage, reading
from kd_keras.data.video.info import Video

_CASES = pathlib.Path(__file__).parents[2] / "shared" / "cases"
_NUM_FRAMES, _GROUP = 30, 10
_FILES = {
    "a.ts": "libx264",
    "b.ts": "mpeg2video",
    "a.mkv": "libx264",
    "b.mkv": "mpeg2video",
    "a.mp4": "libx264",
    "a.mpg": "mpeg2video",
}


def _video(path):
    return Video("clip 1", pathlib.Path(path), TRAIN)


def _write(path, codec):
    """Noise over blocks, so that packets are large and every frame differs."""
    draws = np.random.default_rng(0)
    # Key frames at places that are known.
    options = {"g": str(_GROUP), "bf": "2", "sc_threshold": "0"}
    if codec == "mpeg2video":
        options["sc_threshold"] = "1000000000"
    else:
        options["x264-params"] = "mbtree=0"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.bit_rate = 800_000
        # With several threads the same frames give other bytes now and then.
        stream.codec_context.thread_count = 1
        for number in range(_NUM_FRAMES):
            picture = draws.integers(100, 156, (64, 96, 3), np.uint8)
            picture[:32] += np.uint8(number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def _packets(path):
    with av.open(str(path)) as container:
        demuxed = container.demux(video=0)
        return [(p.pts, p.is_keyframe, bytes(p)) for p in demuxed if p.size]


def _read(path):
    """Every frame by itself, by the time it is shown at; None for what is refused."""
    video = _video(path)
    info = reading.probe(video)
    frames = {}
    for index, time_s in enumerate(info.times_s):
        try:
            (frame,) = reading.read_frames(video, info, [index])
        except reading.BadVideo as error:
            assert f"at {time_s:.3f} s" in str(error)
            frame = None
        frames[round(float(time_s), 2)] = frame
    return frames


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("number", [14, 17, 20])
def test_what_refers_to_a_damaged_frame_is_refused(tmp_path, name, number):
    path = _write(tmp_path / name, _FILES[name])
    clean, packets = _read(path), _packets(path)
    assert all(frame is not None for frame in clean.values())
    content = bytearray(path.read_bytes())
    # The packet may be split in the file: part of it is enough to find it.
    data = packets[number][2]
    middle = len(data) // 2
    found = [content.find(data[at : at + 60]) for at in range(middle, middle + 200, 20)]
    place = max(found)
    assert place > 0
    # Not all damage leaves traces that a decoder notices; much of this does.
    size = min(300, len(data) // 3)
    content[place : place + size] = np.random.default_rng(2).bytes(size)
    path.write_bytes(content)

    keys = [n for n, (_, is_key, _) in enumerate(packets) if is_key]
    first = max(key for key in keys if key <= number)
    end = min([key for key in keys if key > number], default=len(packets))
    start = min(pts for pts, _, _ in packets)
    base = {"mkv": 1e-3, "mp4": 1 / 12800}.get(path.suffix[1:], 1 / 90_000)
    shown_s = [round((pts - start) * base, 2) for pts, _, _ in packets]
    damaged = _read(path)
    # What leads a key frame is shown before it, and only its like refer to it.
    is_leading = shown_s[number] < shown_s[first]
    for n, time_s in enumerate(shown_s):
        # A frame of which nothing is left is not in the file.
        frame = damaged.get(time_s)
        in_group = number <= n < end and is_leading <= (time_s < shown_s[first])
        leads_next = n > end and end < len(packets) and time_s < shown_s[end]
        if in_group or (leads_next and not is_leading):
            assert frame is None, time_s
        elif frame is not None:
            np.testing.assert_array_equal(frame, clean[time_s])
        else:
            # MPEG-TS also marks packets beside the one that is damaged.
            assert number - 3 <= n < end or leads_next, time_s


@pytest.mark.parametrize("name", ["a.ts", "b.ts", "a.mpg"])
@pytest.mark.parametrize("part", ["start", "end"])
def test_damage_at_either_end_leaves_the_rest(tmp_path, name, part):
    path = _write(tmp_path / name, _FILES[name])
    clean = list(_read(path).values())
    content = bytearray(path.read_bytes())
    size = len(content) // 6
    if part == "start":
        # What says which streams there are, at the very start, is left.
        content[2000 : 2000 + size] = bytes(size)
    else:
        content[-size:] = bytes(size)
    path.write_bytes(content)
    found = [frame for frame in _read(path).values() if frame is not None]
    assert _NUM_FRAMES // 2 <= len(found) < _NUM_FRAMES
    for frame in found:
        assert any(np.array_equal(frame, other) for other in clean)


def test_a_pass_over_many_frames_stops_at_the_damage(tmp_path):
    path = _write(tmp_path / "a.ts", "libx264")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)
    path.write_bytes(content)
    video = _video(path)
    info = reading.probe(video)
    with pytest.raises(reading.BadVideo, match=r"frame \d+ \(at 0\.\d+ s\)"):
        list(reading.iterate_frames(video, info))


@pytest.mark.skipif(not _CASES.is_dir(), reason=f"{_CASES} is not there")
def test_the_damaged_recording_is_refused_up_to_its_next_key_frame():
    frames = _read(_CASES / "damaged.ts")
    refused_s = [time_s for time_s, frame in frames.items() if frame is None]
    with av.open(str(_CASES / "damaged.ts")) as container:
        keys_s = [
            float((frame.pts - 133_200) * frame.time_base)
            for frame in container.decode(video=0)
            if frame.key_frame
        ]
    assert len(frames) == 148 and max(np.diff(refused_s)) < 0.1
    assert 1.9 < refused_s[0] < 2.1
    assert refused_s[-1] == pytest.approx(min(t for t in keys_s if t > 2) - 0.04)


def test_frames_keep_their_packets_beside_other_readers(tmp_path, monkeypatch):
    named, number_of = [], damage.Decoder._number

    def number(self, frame):
        named.append(frame.opaque)
        return number_of(self, frame)

    monkeypatch.setattr(damage.Decoder, "_number", number)
    video = _video(_write(tmp_path / "a.ts", "libx264"))
    info = reading.probe(video)
    readers = [reading.iterate_frames(video, info) for _ in range(10)]
    for number, reader in enumerate(readers):
        for _ in range(number):
            next(reader)
    for _ in range(_NUM_FRAMES - len(readers)):
        for reader in readers:
            next(reader)
    assert len(named) > 100 and None not in named
