"""Files that cannot be used as videos are refused with the reason."""

import pathlib
import pickle

import av
import numpy as np
import pytest

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video


def _video(path):
    return Video("clip 1", pathlib.Path(path), TRAIN)


def test_a_hole_in_the_data_is_named_or_concealed_but_never_crashes(tmp_path):
    path = numbered_video.write(tmp_path / "a.mkv", 60, g="10", crf="10")
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    path.write_bytes(data)
    with pytest.raises(reading.BadVideo, match=r"clip 1: .*a\.mkv"):
        video = _video(path)
        reading.read_frames(video, reading.probe(video), range(60))


class _Bad:
    """Writers of files that cannot be used, with the reason to be given."""

    def missing(folder):
        return folder / "a.mp4", "does not exist"

    def composed(folder):
        # A Mac lists an e and its accent as two characters.
        (folder / "cafe\u0301.mp4").write_bytes(b"video")
        return folder / "caf\u00e9.mp4", "does not exist; .* another form of Unicode"

    def of_windows(folder):
        (folder / "day 1").mkdir()
        (folder / "day 1" / "a.mp4").write_bytes(b"video")
        return folder / "day 1\\a.mp4", "does not exist, but it does with /"

    def empty(folder):
        (folder / "a.mp4").write_bytes(b"")
        return folder / "a.mp4", r"empty \(0 bytes\)"

    def text(folder):
        (folder / "a.mp4").write_text("video,start,end\n" * 100)
        return folder / "a.mp4", "cannot be read"

    def sound(folder):
        return _write_sound(folder / "a.wav", "pcm_s16le"), "no video stream"

    def sound_in_mp4(folder):
        return _write_sound(folder / "a.mp4", "aac"), "no video stream"

    def cut_mp4(folder):
        return _cut(numbered_video.write(folder / "a.mp4")), "cannot be read|no video"

    def cut_mp4_with_its_index_first(folder):
        path = numbered_video.write(
            folder / "a.mp4", container_options={"movflags": "faststart"}
        )
        return _cut(path), r"cut off: \d+ bytes of at least \d+"

    def cut_mkv(folder):
        return _cut(
            numbered_video.write(folder / "a.mkv")
        ), "cut off or damaged: .* of the 1.00"

    def cut_webm(folder):
        path = numbered_video.write(folder / "a.webm", codec="libvpx-vp9")
        return _cut(path), "cut off or damaged: .* of the 1.00 s"

    def cut_avi(folder):
        path = numbered_video.write(folder / "a.avi", codec="mpeg4", g="5")
        return _cut(path, 0.8), "cut off or damaged: .* of the 1.00 s"

    def header_alone(folder):
        path = numbered_video.write(folder / "a.mkv")
        return _cut(path, 0.2), "cut off|no frame|cannot be read"


@pytest.mark.parametrize("kind", [k for k in vars(_Bad) if not k.startswith("_")])
def test_files_that_cannot_be_used_are_refused_with_the_reason(tmp_path, kind):
    path, reason = getattr(_Bad, kind)(tmp_path)
    with pytest.raises(reading.BadVideo, match=f"^clip 1: .*({reason})"):
        reading.probe(_video(path))


def test_sound_that_outlasts_the_picture_is_no_sign_of_a_cut(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("aac", rate=16000)
        for number in range(15):
            picture = av.VideoFrame.from_ndarray(numbered_video.frame(number), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        _mux_sound(container, sound, seconds=4)
    info = reading.probe(_video(path))
    assert info.duration_s == pytest.approx(0.5, abs=2e-3)


def test_bad_video_survives_pickling():
    error = pickle.loads(pickle.dumps(reading.BadVideo("a", "is empty")))
    assert str(error) == "a: is empty" and (error.name, error.reason) == (
        "a",
        "is empty",
    )


def _write_sound(path, codec):
    with av.open(str(path), "w") as container:
        _mux_sound(container, container.add_stream(codec, rate=16000), seconds=1)
    return path


def _mux_sound(container, stream, seconds):
    for start in range(0, 16000 * seconds, 1024):
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.int16), format="s16", layout="mono"
        )
        silence.sample_rate, silence.pts = 16000, start
        container.mux(stream.encode(silence))
    container.mux(stream.encode())


def _cut(path, fraction=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(fraction * len(data))])
    return path
