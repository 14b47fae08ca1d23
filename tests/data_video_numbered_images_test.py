"""Frames in folders and tars read like a video, or are refused with a reason."""

import gzip
import pathlib
import tarfile

import cv2
import numpy as np
import pytest

from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from kd_keras.data.video.numbered_images import find_images
from tests import numbered_video, tars

_SAMPLE = (
    pathlib.Path(__file__).parents[2]
    / "shared/data/epic_kitchens_55/sample_frames/rgb/train/P01/P01_01.tar"
)


def _video(path, frame_rate=60.0):
    return Video("P01_01", pathlib.Path(path), TRAIN, frame_rate)


def _frames(numbers, prefix="frame_", size=(48, 64)):
    return {
        f"{prefix}{number:010d}": numbered_video.frame(number, *size)
        for number in numbers
    }


def _read(path, indices, size=None, frame_rate=25):
    video = _video(path, frame_rate)
    return reading.read_frames(video, reading.probe(video), indices, size)


def test_a_folder_of_frames_reads_like_a_video(tmp_path):
    folder = numbered_video.write_folder(tmp_path / "clip", range(3, 13))
    (folder / "._00003.png").write_bytes(b"\0\5\26\7")
    (folder / ".AppleDouble").mkdir()
    (folder / "Thumbs.db").write_bytes(b"x")
    info = reading.probe(_video(folder, 25))
    np.testing.assert_array_equal(info.times_s, np.arange(10) / 25)
    assert (info.duration_s, info.height, info.width) == (10 / 25, 48, 64)
    frames = _read(folder, [0, 9, 4, 0])
    assert numbered_video.numbers(frames) == [3, 12, 7, 3]
    small = _read(folder, [5], size=(32, 24))
    assert small.shape == (1, 24, 32, 3) and numbered_video.numbers(small) == [8]


def test_frames_are_sorted_by_number_not_by_name(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(8, 12):
        picture = numbered_video.frame(number)
        cv2.imwrite(str(folder / f"frame_{number}.JPG"), picture)
    assert numbered_video.numbers(_read(folder, range(4), frame_rate=5)) == [
        8,
        9,
        10,
        11,
    ]


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [([], "no numbered"), ([1, 2, 4, 5], "has no frame number 3$")],
)
def test_folders_that_cannot_be_used_are_refused(tmp_path, numbers, reason):
    folder = numbered_video.write_folder(tmp_path / "clip", numbers)
    with pytest.raises(reading.BadVideo, match=reason):
        reading.probe(_video(folder, 25))


def test_a_folder_needs_a_frame_rate_and_whole_images(tmp_path):
    folder = numbered_video.write_folder(tmp_path / "clip", range(4))
    with pytest.raises(ValueError, match="needs a frame_rate"):
        reading.probe(_video(folder, None))
    video = _video(folder, 25)
    info = reading.probe(video)
    (folder / "00002.png").write_bytes(b"")
    with pytest.raises(reading.BadVideo, match=r"00002\.png cannot be read"):
        reading.read_frames(video, info, [1, 2])
    numbered_video.write_folder(folder, [1], suffix=".jpg")
    with pytest.raises(reading.BadVideo, match="two frames of one number"):
        reading.probe(video)


def test_a_frame_that_is_no_longer_a_file_makes_a_bad_video(tmp_path):
    folder = numbered_video.write_folder(tmp_path / "clip", range(4))
    video = _video(folder, 25)
    info = reading.probe(video)
    frame = folder / "00002.png"
    frame.unlink()
    with pytest.raises(reading.BadVideo, match=r"No such file.*00002\.png"):
        reading.read_frames(video, info, [1, 2])
    frame.mkdir()
    with pytest.raises(reading.BadVideo, match=r"Is a directory.*00002\.png"):
        reading.read_frames(video, info, [1, 2])


def test_a_tar_of_frames_reads_like_a_video(tmp_path):
    path = tars.write(tmp_path / "P01_01.tar", _frames(range(1, 21)))
    video = _video(path)
    info = reading.probe(video)
    np.testing.assert_array_equal(info.times_s, np.arange(20) / 60)
    assert (info.duration_s, info.height, info.width) == (20 / 60, 48, 64)
    for indices in ([*range(20)], [19, 0, 7, 7], [3]):
        frames = reading.read_frames(video, info, indices)
        assert numbered_video.numbers(frames) == [i + 1 for i in indices]
    small = reading.read_frames(video, info, [5], size=(32, 24))
    assert small.shape == (1, 24, 32, 3) and numbered_video.numbers(small) == [6]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["P01_01.tar"]


@pytest.mark.parametrize("prefix", ["./frame_", "P01_01/frame_", "a/b/img"])
def test_frames_may_lie_in_a_folder_of_the_tar_in_any_order(tmp_path, prefix):
    images = _frames([3, 1, 12, 2, *range(4, 12)], prefix)
    images["._frame_0000000004"] = numbered_video.frame(0)
    path = tars.write(tmp_path / "a.tar", images, suffix=".png")
    video = _video(path)
    info = reading.probe(video)
    frames = reading.read_frames(video, info, range(12))
    assert numbered_video.numbers(frames) == [*range(1, 13)]


def test_every_frame_is_the_one_that_tarfile_finds(tmp_path):
    long = "a_folder_whose_name_is_so_long_that_a_tar_needs_a_second_header_for_it" * 2
    path = tars.write(tmp_path / "a.tar", _frames(range(1, 9), f"{long}/ü"))
    images = find_images("a", path)
    with tarfile.open(path) as tar:
        files = [tar.extractfile(m).read() for m in tar if m.isfile()]
    assert [data for _, data in images.read(range(8))] == files
    assert len(images) == 8


class _Bad:
    """Writers of tars that cannot be used, with the reason to be given."""

    def gap(path):
        tars.write(path, _frames([1, 2, 4]))
        return "has no frame number 3"

    def empty(path):
        tars.write(path, {})
        return "holds no numbered"

    def twice(path):
        tars.write(path, {**_frames([1, 2]), **_frames([2], "other_")})
        return "two frames of one number"

    def flow(path):
        tars.write(path, {**_frames([1, 2], "u/f"), **_frames([1, 2], "v/f")})
        return "several folders: u, v; that is flow, not frames"

    def cut_in_a_frame(path):
        data = tars.write(path, _frames(range(1, 6))).read_bytes()
        path.write_bytes(data[: int(0.5 * _content(path))])
        return "cut off"

    def cut_between_frames(path):
        tars.write(path, _frames(range(1, 6)))
        with tarfile.open(path) as tar:
            offset = tar.getmembers()[3].offset
        path.write_bytes(path.read_bytes()[:offset])
        return "cut off after 3 images"

    def damaged(path):
        tars.write(path, _frames(range(1, 6)))
        with tarfile.open(path) as tar:
            offset = tar.getmembers()[3].offset
        data = bytearray(path.read_bytes())
        data[offset : offset + 512] = b"\xff" * 512
        path.write_bytes(data)
        return "is damaged at byte"

    def compressed(path):
        tars.write(path, _frames([1, 2]))
        path.write_bytes(gzip.compress(path.read_bytes()))
        return "without compression"

    def no_tar(path):
        path.write_text("video,start,end\n" * 100)
        return "cannot be read as a tar"

    def no_bytes(path):
        path.write_bytes(b"")
        return r"empty \(0 bytes\)"


def _content(path):
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    return last.offset_data + last.size


@pytest.mark.parametrize("kind", [k for k in vars(_Bad) if not k.startswith("_")])
def test_tars_that_cannot_be_used_are_refused_with_the_reason(tmp_path, kind):
    path = tmp_path / "P01_01.tar"
    reason = getattr(_Bad, kind)(path)
    with pytest.raises(reading.BadVideo, match=f"^P01_01: .*({reason})"):
        reading.probe(_video(path))


def test_a_tar_needs_a_frame_rate(tmp_path):
    path = tars.write(tmp_path / "a.tar", _frames([1, 2]))
    with pytest.raises(ValueError, match="is a tar of frames: .* needs a frame_rate"):
        reading.probe(_video(path, None))


@pytest.mark.parametrize("in_tar", [True, False])
def test_frames_of_two_sizes_are_named(tmp_path, in_tar):
    images = {**_frames([1, 2]), **_frames([3], size=(40, 64))}
    if in_tar:
        path = tars.write(tmp_path / "a.tar", images, ".png")
    else:
        path = tmp_path / "a"
        path.mkdir()
        for name, image in images.items():
            cv2.imwrite(str(path / f"{name}.png"), image)
    video = _video(path)
    info = reading.probe(video)
    with pytest.raises(
        reading.BadVideo,
        match=r"frame_0000000003\.png is 64 x 40 pixels, .* 64 x 48",
    ):
        reading.read_frames(video, info, [0, 1, 2])


def test_a_tar_that_changed_after_it_was_listed_is_named(tmp_path):
    path = tars.write(tmp_path / "a.tar", _frames([1, 2, 3]))
    video = _video(path)
    info = reading.probe(video)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(reading.BadVideo, match="frame_0000000003.*cannot be read"):
        reading.read_frames(video, info, [2])


# One after the other.


@pytest.mark.parametrize("kind", ["tar", "folder", "mp4"])
def test_frames_are_iterated_as_they_are_read(tmp_path, kind):
    if kind == "tar":
        path = tars.write(tmp_path / "a.tar", _frames(range(30)))
    elif kind == "folder":
        path = numbered_video.write_folder(tmp_path / "a", range(30))
    else:
        path = numbered_video.write(tmp_path / "a.mp4", 30, g="7")
    video = _video(path)
    info = reading.probe(video)
    frames = [*reading.iterate_frames(video, info)]
    assert numbered_video.numbers(frames) == [*range(30)]
    for indices in ([3, 3, 9, 9, 9, 28], [15], [0, 29]):
        iterated = np.stack([*reading.iterate_frames(video, info, indices)])
        np.testing.assert_array_equal(
            iterated, reading.read_frames(video, info, indices)
        )
    half = next(reading.iterate_frames(video, info, [4], size=(32, 24)))
    assert half.shape == (24, 32, 3)
    with pytest.raises(ValueError, match="ascending order"):
        reading.iterate_frames(video, info, [2, 1])
    with pytest.raises(ValueError, match="numbered from 0 to 29"):
        reading.iterate_frames(video, info, [30])


@pytest.mark.skipif(not _SAMPLE.exists(), reason="the sample frames are not here")
def test_real_frames_in_a_tar_are_those_of_the_unpacked_folder(tmp_path):
    with tarfile.open(_SAMPLE) as tar:
        tar.extractall(tmp_path / "P01_01", filter="data")
    packed, unpacked = _video(_SAMPLE), _video(tmp_path / "P01_01")
    infos = reading.probe(packed), reading.probe(unpacked)
    assert len(infos[0].times_s) == len(infos[1].times_s) == 100
    assert (infos[0].height, infos[0].width) == (256, 456)
    indices = [0, 50, 99]
    np.testing.assert_array_equal(
        reading.read_frames(packed, infos[0], indices),
        reading.read_frames(unpacked, infos[1], indices),
    )
