"""Clips have one shape, are read once, and bad videos are set aside by name."""

import concurrent.futures
import dataclasses
import logging
import os
import pathlib

import cv2
import numpy as np
import pytest

from kd_keras.data.bad_videos import TooManyBadVideos
from kd_keras.data.clips import loader as loader_lib
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.segments import TRAIN, Clip
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video

_FORMAT = ClipFormat(num_frames=5, image_size=28)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three good videos of 40 frames at 20 a second, and three that are not."""
    folder = tmp_path_factory.mktemp("videos")
    for name in "abc":
        numbered_video.write(folder / f"{name}.mp4", 40, frame_rate=20, g="8")
    for name in "xyz":
        (folder / f"{name}.mp4").write_bytes(b"")
    return folder


def _loader(folder, names="abc", clip_format=_FORMAT, **options):
    videos = {n: Video(n, folder / f"{n}.mp4", TRAIN) for n in names}
    return ClipLoader(videos, clip_format, **options)


@pytest.fixture
def decoded(monkeypatch):
    """Names of the videos that were decoded, in order."""
    names, read_frames = [], reading.read_frames

    def counted(video, *args):
        names.append(video.name)
        return read_frames(video, *args)

    monkeypatch.setattr(reading, "read_frames", counted)
    return names


@pytest.mark.parametrize(
    ("fit", "resize_ratio", "size", "resized"),
    [
        ("crop", 8 / 7, (240, 320), (128, 171)),  # 170.67
        ("crop", 8 / 7, (320, 240), (171, 128)),
        ("crop", 1, (720, 1280), (112, 199)),  # 199.1
        ("crop", 1, (100, 100), (112, 112)),
        ("crop", 1, (224, 225), (112, 113)),  # 112.5, halves go up
        ("stretch", 8 / 7, (240, 320), (128, 128)),
        ("stretch", 1, (3, 1000), (112, 112)),
    ],
)
def test_frames_are_resized_with_the_whole_picture_kept(
    fit, resize_ratio, size, resized
):
    clip_format = ClipFormat(image_size=112, fit=fit, resize_ratio=resize_ratio)
    assert clip_format.resized(*size) == resized
    assert min(resized) == clip_format.resized_side


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(num_frames=0), "at least 1"),
        (dict(image_size=0), "at least 1"),
        (dict(fit="pad"), "fit must be one of"),
        (dict(short_clip="stop"), "short_clip must be one of"),
        (dict(resize_ratio=0.9), "resize_ratio must be at least 1"),
        (dict(resize_ratio=float("nan")), "resize_ratio must be at least 1"),
    ],
)
def test_formats_that_make_no_sense_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        ClipFormat(**changed)


def test_a_clip_holds_the_frames_of_its_interval(folder):
    loader = _loader(folder, cache="off")
    frames = loader.load(Clip("a", 0.5, 0.75))
    assert frames.dtype == np.uint8 and frames.shape == (5, 32, 43, 3)
    assert numbered_video.numbers(frames) == [10, 11, 12, 13, 14]
    # Padded before the start: never later frames than those before the end.
    assert numbered_video.numbers(loader.load(Clip("b", -0.2, 0.05))) == [0] * 5


def test_resizing_averages_areas(folder):
    frames = _loader(folder).load(Clip("a", 1.0, 1.25))
    area = [
        cv2.resize(numbered_video.frame(k), (43, 32), interpolation=cv2.INTER_AREA)
        for k in range(20, 25)
    ]
    assert np.abs(frames.astype(int) - np.array(area, int)).mean() < 4


def test_a_clip_that_is_too_short_names_its_video(folder):
    clip_format = dataclasses.replace(_FORMAT, short_clip="error")
    loader = _loader(folder, clip_format=clip_format)
    with pytest.raises(ValueError, match=r"^a: The clip \[0, 0.1\) s holds 2 frames"):
        loader.load(Clip("a", 0, 0.1))
    assert not loader.bad_videos


def test_the_memory_cache_decodes_once_and_guards_what_it_keeps(folder, decoded):
    loader = _loader(folder)
    first = loader.load(Clip("a", 0, 1))
    assert loader.load(Clip("a", 0.0, 1.0)) is first
    assert decoded == ["a"]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    loader.load(Clip("a", 0, 1.5))
    assert decoded == ["a", "a"]


def test_without_a_cache_every_load_decodes(folder, decoded):
    loader = _loader(folder, cache="off")
    first, second = loader.load(Clip("a", 0, 1)), loader.load(Clip("a", 0, 1))
    np.testing.assert_array_equal(first, second)
    assert decoded == ["a", "a"]


def test_the_disk_cache_outlives_the_loader(folder, tmp_path, decoded):
    clip = Clip("a", 0.2, 0.9)
    frames = _loader(folder, cache="disk", cache_dir=tmp_path).load(clip)
    again = _loader(folder, cache="disk", cache_dir=tmp_path).load(clip)
    np.testing.assert_array_equal(frames, again)
    assert decoded == ["a"]
    (file,) = _files(tmp_path)
    np.testing.assert_array_equal(np.load(file), frames)


def test_the_disk_cache_notices_every_change_of_what_made_it(tmp_path, decoded):
    folder, cache = tmp_path / "videos", tmp_path / "cache"
    folder.mkdir()
    path = numbered_video.write(folder / "a.mp4", 20, frame_rate=20)
    clip = Clip("a", 0, 0.5)

    def load(clip=clip, **changed):
        clip_format = dataclasses.replace(_FORMAT, **changed)
        options = dict(cache="disk", cache_dir=cache)
        return _loader(folder, "a", clip_format, **options).load(clip)

    load()
    for change in (dict(num_frames=6), dict(resize_ratio=1.0), dict(short_clip="loop")):
        load(**change)
    load(clip=Clip("a", 0, 0.55))
    assert len(decoded) == len(_files(cache)) == 5
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    load()
    assert len(decoded) == 6
    load()
    assert len(decoded) == 6


@pytest.mark.parametrize(
    ("modality", "flow_folder", "image"),
    [
        ("rgb", None, "v/00003.png"),
        # The flow of frame 3 is that from frame 2, which comes before the clip.
        ("flow", None, "v/00002.png"),
        ("flow", "flow", "flow/v/00003.png"),
    ],
)
def test_the_disk_cache_notices_an_image_that_was_written_over(
    tmp_path, modality, flow_folder, image
):
    for folder in ("v", "flow/u", "flow/v"):
        numbered_video.write_folder(tmp_path / folder, range(1, 21))
    flow_path = flow_folder and tmp_path / flow_folder
    video = Video("v", tmp_path / "v", TRAIN, 20.0, flow_path)
    clip_format = dataclasses.replace(_FORMAT, modality=modality, flow_method="dis")

    def load(cache):
        loader = ClipLoader({"v": video}, clip_format, cache, tmp_path / "cache")
        return loader.load(Clip("v", 0.1, 0.3))

    before = load("disk")
    cv2.imwrite(str(tmp_path / image), numbered_video.frame(255 - 2))
    after = load("off")
    assert (before != after).any()
    np.testing.assert_array_equal(load("disk"), after)
    # What the clip does not show may change.
    cv2.imwrite(str(tmp_path / "v/00012.png"), numbered_video.frame(0))
    load("disk")
    assert len(_files(tmp_path / "cache")) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "other"])
def test_a_damaged_cache_file_is_made_again(folder, tmp_path, decoded, caplog, damage):
    clip = Clip("a", 0.2, 0.9)
    frames = _loader(folder, cache="disk", cache_dir=tmp_path).load(clip)
    (file,) = _files(tmp_path)
    data = file.read_bytes()
    if damage == "other":
        np.save(file, np.zeros((2, 3)))
    else:
        damaged = {
            "cut": data[: len(data) // 2],
            "empty": b"",
            "noise": b"\x93NUM" * 99,
        }
        file.write_bytes(damaged[damage])
    again = _loader(folder, cache="disk", cache_dir=tmp_path).load(clip)
    np.testing.assert_array_equal(frames, again)
    assert decoded == ["a", "a"]
    np.testing.assert_array_equal(np.load(file), frames)
    assert f"Making the damaged {file} again" in caplog.text


def test_a_write_that_fails_leaves_no_cache_file(folder, tmp_path, monkeypatch):
    def full(file, array):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        _loader(folder, cache="disk", cache_dir=tmp_path).load(Clip("a", 0, 1))
    assert not _files(tmp_path)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_many_threads_read_the_same_as_one(folder, tmp_path, cache):
    clips = [Clip(name, k / 10, k / 10 + 0.4) for k in range(12) for name in "abc"]
    loader = _loader(folder, cache=cache, cache_dir=tmp_path)
    alone = _loader(folder, cache="off")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(loader.load, clips * 3))
    for clip, frames in zip(clips * 3, together, strict=True):
        np.testing.assert_array_equal(frames, alone.load(clip))


def test_the_size_of_the_cache_is_known_before_it_is_filled(folder):
    loader = _loader(folder, "abx")
    clips = [Clip("a", 0, 1), Clip("a", 0, 1), Clip("b", 0, 1), Clip("x", 0, 1)]
    assert loader.estimate_bytes(clips) == 2 * 5 * 32 * 43 * 3
    kept = sum(loader.load(clip).nbytes for clip in set(clips[:3]))
    assert kept == loader.estimate_bytes(clips)


def test_a_bad_video_is_noted_and_logged_once(folder, caplog):
    loader = _loader(folder, "abx")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(reading.BadVideo, match=r"x: .*empty"):
                loader.load(Clip("x", 0, 1))
    assert list(loader.bad_videos) == ["x"] and "empty" in loader.bad_videos["x"]
    assert len([r for r in caplog.records if "x.mp4" in r.getMessage()]) == 1
    assert numbered_video.numbers(loader.load(Clip("a", 0, 0.25))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fraction", "allowed"), [(0, 0), (0.01, 1), (0.2, 1), (0.34, 2), (2 / 6, 2)]
)
def test_too_many_bad_videos_are_an_error_that_lists_them(folder, fraction, allowed):
    loader = _loader(folder, "abcxyz", max_bad_videos=fraction)
    bad = "xyz"[: allowed + 1]
    for name in bad[:allowed]:
        with pytest.raises(reading.BadVideo):
            loader.load(Clip(name, 0, 1))
    for name in bad[allowed:]:
        with pytest.raises(TooManyBadVideos) as caught:
            loader.load(Clip(name, 0, 1))
        assert f"{allowed + 1} of 6 videos cannot be read" in str(caught.value)
        for n in bad:
            assert f"  {n}: " in str(caught.value)


def test_a_video_that_breaks_after_it_was_probed_is_bad(tmp_path):
    numbered_video.write(tmp_path / "a.mp4", 20)
    video = Video("a", tmp_path / "a.mp4", TRAIN)
    infos = {"a": reading.probe(video)}
    loader = ClipLoader({"a": video}, _FORMAT, infos=infos)
    assert loader.info("a") is infos["a"]
    video.path.unlink()
    with pytest.raises(reading.BadVideo, match="No such file"):
        loader.load(Clip("a", 0, 0.5))
    assert "a" in loader.bad_videos


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_clips_that_are_kept_of_a_video_that_turned_bad_are_bad_too(cache, tmp_path):
    numbered_video.write(tmp_path / "a.mp4", 20)
    video = Video("a", tmp_path / "a.mp4", TRAIN)
    loader = ClipLoader({"a": video}, _FORMAT, cache, cache_dir=tmp_path / "cache")
    loader.load(Clip("a", 0, 0.5))
    with pytest.raises(reading.BadVideo):
        loader.load(Clip("a", 100, 101))
    with pytest.raises(reading.BadVideo, match="lasts"):
        loader.load(Clip("a", 0, 0.5))


def test_folders_of_frames_load_too(tmp_path):
    numbered_video.write_folder(tmp_path / "clip", range(1, 41))
    videos = {"clip": Video("clip", tmp_path / "clip", TRAIN, frame_rate=25)}
    for cache in loader_lib.CACHES:
        loader = ClipLoader(videos, _FORMAT, cache, cache_dir=tmp_path / "cache")
        frames = loader.load(Clip("clip", 0.4, 0.6))
        assert numbered_video.numbers(frames) == [11, 12, 13, 14, 15]


def test_loaders_that_make_no_sense_are_refused(folder):
    for options, message in (
        (dict(cache="ram"), "cache must be one of"),
        (dict(cache="disk"), "needs a cache_dir"),
        (dict(max_bad_videos=2), "max_bad_videos must be a fraction"),
    ):
        with pytest.raises(ValueError, match=message):
            _loader(folder, **options)
    with pytest.raises(ValueError, match="no video 'q' among its 3"):
        _loader(folder).load(Clip("q", 0, 1))


def _files(folder):
    return [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
