"""Mutates recordings: frames are read alike by every way, or the video is refused.

python -m tests.fuzz_recordings --cases=2000 --seed=0
"""

import pathlib
import shutil

import av
import numpy as np

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import fuzz_pool, mutated_containers, mutations, numbered_video, tars

_FRAMES, _RATE = 24, 12
# Container and codec, with B-frames and several key frames where they know them.
_FILES = {
    "b_frames.mp4": dict(codec="libx264", bf="2", b_strategy="0", g="8"),
    "index_first.mp4": dict(
        codec="libx264", g="8", container_options={"movflags": "faststart"}
    ),
    "fragments.mp4": dict(
        codec="libx264",
        g="8",
        container_options={"movflags": "frag_keyframe+empty_moov"},
    ),
    "mpeg4.mov": dict(codec="mpeg4", g="8"),
    "h264.mkv": dict(codec="libx264", bf="2", g="8"),
    "vp9.webm": dict(codec="libvpx-vp9", g="8"),
    "vp8.webm": {"codec": "libvpx", "auto-alt-ref": "1", "g": "8"},
    "h264.ts": dict(codec="libx264", bf="2", g="8"),
    "mpeg2.ts": dict(codec="mpeg2video", bf="2", g="8", frame_rate=24),
    "mpeg2.mpg": dict(codec="mpeg2video", bf="2", g="8", frame_rate=24),
    "mpeg4.avi": dict(codec="mpeg4", bf="2", g="8"),
    "mjpeg.avi": dict(codec="mjpeg"),
    "raw.h264": dict(codec="libx264", g="8"),
}
_FOLDER, _TAR = "folder", "frames.tar"
# A picture of more is none that a mutated header of these small files should give.
_MOST_PIXELS = 2**26
_SECONDS = 3600 * 24 * 2 * _FRAMES


class OtherPictures(fuzz_pool.Fault):
    """A frame is not the same from the start and after a seek."""


def write_originals(folder):
    """A recording of every container, a folder and a tar of JPEGs."""
    for name, options in _FILES.items():
        options = {"frame_rate": _RATE, **options}
        numbered_video.write(folder / name, _FRAMES, **options)
    numbered_video.write_folder(folder / _FOLDER, range(_FRAMES // 2), ".jpg")
    pictures = {f"{k:05d}": numbered_video.frame(k) for k in range(_FRAMES // 2)}
    tars.write(folder / _TAR, pictures)


def run_case(draws, originals, work):
    """Mutates a recording and reads it in several ways."""
    original = draws.choice(sorted(originals.iterdir()))
    path = work / original.name
    if original.is_dir():
        shutil.copytree(original, path)
        _change_folder(path, draws)
    else:
        path.write_bytes(_changed(original, draws))
    is_folder = path.is_dir() or path.suffix == ".tar"
    video = Video("the clip", pathlib.Path(path), TRAIN, _RATE if is_folder else None)
    kind = "folder" if path.is_dir() else path.suffix
    info, error = fuzz_pool.refusal(lambda: reading.probe(video), "the clip")
    if error is not None:
        return f"{kind} refused"
    _check_info(info)
    try:
        return f"{kind} {_read(video, info, draws)}"
    except OtherPictures:
        if _is_noticeable(path, original, info):
            raise
        return f"{kind} damaged, and no decoder could notice"


def _changed(original, draws):
    content = original.read_bytes()
    for _ in range(draws.choice((1, 1, 1, 2, 4))):
        if draws.random() < 0.5:
            content = mutations.change_bytes(content, draws)
        else:
            content = mutated_containers.change(content, original.suffix, draws)
    return content


def _change_folder(path, draws):
    file, other = draws.sample(sorted(path.iterdir()), 2)
    kind = draws.choice(
        ("bytes", "bytes", "bytes", "remove", "rename", "copy", "empty")
    )
    if kind == "bytes":
        file.write_bytes(mutations.change_bytes(file.read_bytes(), draws))
    elif kind == "remove":
        file.unlink()
    elif kind == "rename":
        names = (
            "0.jpg",
            "x.jpg",
            "9" * 30 + ".jpg",
            "00003.PNG",
            "\u0663.jpg",
            ".1.jpg",
        )
        file.rename(path / draws.choice(names))
    elif kind == "copy":
        shutil.copy(file, other)
    else:
        file.write_bytes(b"")


def _check_info(info):
    times_s = info.times_s
    if not len(times_s) or not np.isfinite(times_s).all() or times_s[0] < 0:
        raise fuzz_pool.Fault(f"times {times_s}")
    if not (np.diff(times_s) > 0).all() and not info.by_position:
        raise fuzz_pool.Fault(f"times do not ascend: {times_s}")
    if (np.diff(times_s) < 0).any():
        raise fuzz_pool.Fault(f"times descend: {times_s}")
    if not (np.isfinite(info.duration_s) and times_s[-1] < info.duration_s < _SECONDS):
        raise fuzz_pool.Fault(f"lasts {info.duration_s} s, last frame {times_s[-1]} s")
    if len(times_s) > 20 * _FRAMES:
        raise fuzz_pool.Fault(f"{len(times_s)} frames")
    if not 0 < info.height * info.width <= _MOST_PIXELS:
        raise fuzz_pool.Fault(f"{info.width} x {info.height} pixels")


def _read(video, info, draws):
    """Reads all frames, and clips from the middle; they are the same pictures."""
    size, whole = (64, 48), {}

    def read_on():
        for index, frame in enumerate(reading.iterate_frames(video, info, size=size)):
            whole[index] = frame.copy()

    _, error = fuzz_pool.refusal(read_on, "the clip")
    if error is None and len(whole) != len(info.times_s):
        raise fuzz_pool.Fault(f"{len(whole)} frames of {len(info.times_s)}")
    refused = error is not None
    for _ in range(4):
        start = draws.randrange(len(info.times_s))
        indices = np.arange(start, min(start + 5, len(info.times_s)))
        frames, error = fuzz_pool.refusal(
            lambda indices=indices: reading.read_frames(video, info, indices, size),
            "the clip",
        )
        if error is not None:
            if all(index in whole for index in indices):
                raise OtherPictures(
                    f"frames {indices} are read from the start alone: {error}"
                )
            refused = True
            continue
        for index, frame in zip(indices, frames, strict=True):
            if index in whole and not np.array_equal(frame, whole[index]):
                shown = numbered_video.numbers([whole[index], frame])
                raise OtherPictures(
                    f"frame {index} shows {shown[0]} from the start, {shown[1]} from "
                    f"frame {start} on"
                )
    return "partly refused" if refused else "read"


def _is_noticeable(path, original, info):
    """Whether every packet that is left is as it was, and on one clock.

    Other bits than were encoded may decode to a picture that nothing marks as damaged,
    and that shows what was left in the decoder's memory.
    """
    if info.packet_times is not None or path.is_dir() or path.suffix == ".tar":
        return info.packet_times is None
    return _packets(path) <= _packets(original)


def _packets(path):
    with av.open(str(path), metadata_errors="replace") as container:
        return {bytes(p) for p in container.demux(container.streams.video[0])}


if __name__ == "__main__":
    fuzz_pool.main("tests.fuzz_recordings")
