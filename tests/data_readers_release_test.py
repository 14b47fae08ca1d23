"""Finding the videos of a release, which are not opened where it can be helped."""

import contextlib
import tarfile

import av
import numpy as np
import pytest

from kd_keras.data.readers import release
from kd_keras.data.readers.flow_folders import attach_flow
from kd_keras.data.readers.release import find_media, open_release
from kd_keras.data.segments import Index
from kd_keras.data.video import file_kinds
from kd_keras.data.video.flow import I3D_FLOW
from kd_keras.data.video.info import BadVideo, Video, VideoInfo
from kd_keras.data.video.stored_flow import probe_flow
from tests import numbered_video


def touch(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_videos_lie_anywhere_below_and_folders_go_first(tmp_path):
    touch(tmp_path / "x/b.tar")
    touch(tmp_path / "a/b.MP4")
    touch(tmp_path / "a/c.mkv")
    touch(tmp_path / "z/c.mp4")
    touch(tmp_path / "z/d/1.jpg")
    touch(tmp_path / "a/d.tar")
    touch(tmp_path / "a/e.txt")
    touch(tmp_path / "flow/f.tar")
    touch(tmp_path / "object_detection_images/train/b.tar")
    touch(tmp_path / ".trash/f.tar")
    assert find_media(tmp_path, ["b", "c", "d", "e", "f"]) == {
        "b": tmp_path / "x/b.tar",
        "c": tmp_path / "a/c.mkv",
        "d": tmp_path / "z/d",
    }


@pytest.mark.parametrize(
    "suffix",
    [
        ".m4v",
        ".mpg",
        ".MPEG",
        ".ts",
        ".m2ts",
        ".MTS",
        ".wmv",
        ".3gp",
        ".vob",
        ".h265",
        ".tar.gz",
        ".tgz",
    ],
)
def test_files_of_every_kind_are_seen(tmp_path, suffix):
    path = touch(tmp_path / f"a/P01.02{suffix}")
    touch(tmp_path / "a/P01.02.txt")
    assert find_media(tmp_path, ["P01.02"]) == {"P01.02": path}


def test_the_suffixes_of_ffmpeg_are_known():
    formats = (
        "mov matroska avi flv ogg dv h264 hevc nut gif obu mjpeg h261 yuv4mpegpipe vc1 "
        "mpegts mpeg vob asf rm mxf ivf"
    )
    found = set()
    for name in formats.split():
        for mode in "rw":
            with contextlib.suppress(ValueError):
                found |= av.format.ContainerFormat(name, mode).extensions
    sound_pictures_or_text = (
        "m4a m4b isma mka mks wma ra rma ogg oga opus spx heif heic avif mpo jpg ogx"
    )
    missing = {f".{suffix}" for suffix in found} - file_kinds.VIDEOS
    assert missing <= {f".{suffix}" for suffix in sound_pictures_or_text.split()}


def test_a_compressed_tar_is_refused_with_the_way_out(tmp_path):
    frames = numbered_video.write_folder(tmp_path / "frames", range(3))
    for name, mode in (
        ("a.tar.gz", "w:gz"),
        ("b.tgz", "w:gz"),
        ("b.tar", "w"),
        ("c.TAR.XZ", "w:xz"),
    ):
        with tarfile.open(tmp_path / name, mode) as tar:
            tar.add(frames, "frames")
    found = open_release(
        tmp_path,
        dict.fromkeys("abc", "train"),
        {"a": 1.0},
        dict.fromkeys("abc", 5.0),
        max_bad_videos=1.0,
    )
    assert found.videos["b"].path == tmp_path / "b.tar"
    assert found.durations_s == {"b": 0.6}
    assert set(found.bad_videos) == {"a", "c"}
    for name, file in (("a", "a.tar.gz"), ("c", "c.TAR.XZ")):
        assert f"{tmp_path / file} is a compressed tar" in found.bad_videos[name]
        assert f"tar -xf {file}" in found.bad_videos[name]


def test_compressed_flow_is_refused_and_not_passed_over(tmp_path):
    (tmp_path / "flow").mkdir()
    with tarfile.open(tmp_path / "flow/a.tar.gz", "w:gz"):
        pass
    video = Video("a.mp4", tmp_path / "a.mp4", "train")
    index = Index(("x",), {"a.mp4": video}, {"a.mp4": 1.0}, (), {})
    index = attach_flow(index, tmp_path / "flow", I3D_FLOW, frame_rate=5.0)
    info = VideoInfo(np.arange(5) / 5, 1.0, 8, 8)
    with pytest.raises(BadVideo, match=r"a\.tar\.gz is a compressed tar"):
        probe_flow(index.videos["a.mp4"], info)


def test_the_frames_of_a_video_are_not_looked_through(tmp_path, monkeypatch):
    touch(tmp_path / "rgb/a/b/c.tar")
    looked_at = []
    walk = release.os.walk

    def spied(*args, **kwargs):
        for found in walk(*args, **kwargs):
            looked_at.append(found[0])
            yield found

    monkeypatch.setattr(release.os, "walk", spied)
    assert set(find_media(tmp_path, ["a", "c"])) == {"a"}
    assert looked_at == [str(tmp_path), str(tmp_path / "rgb")]


def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "disk/a.tar")
    root = tmp_path / "root"
    root.mkdir()
    (root / "rgb").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/loop").symlink_to(root)
    assert find_media(root, ["a"]) == {"a": root / "rgb/a.tar"}


def test_only_videos_of_unknown_duration_are_opened(tmp_path):
    touch(tmp_path / "known.mp4", "this is no video")
    touch(tmp_path / "known_frames/1.jpg", "nor is this a picture")
    numbered_video.write(tmp_path / "opened.mp4", num_frames=12, frame_rate=6)
    touch(tmp_path / "broken.mp4", "nor this")
    found = open_release(
        tmp_path,
        dict.fromkeys(["known", "known_frames", "opened", "broken", "gone"], "train"),
        {"known": 7, "known_frames": 8},
        {"known": 5.0, "known_frames": 5.0},
        max_bad_videos=0.5,
    )
    assert found.durations_s == {"known": 7.0, "known_frames": 8.0, "opened": 2.0}
    assert list(found.infos) == ["opened"]
    assert found.videos["known"].frame_rate is None
    assert found.videos["known_frames"].frame_rate == 5.0
    assert set(found.bad_videos) == {"broken", "gone"}


def test_frames_whose_rate_no_list_gives_say_where_to_write_it(tmp_path):
    touch(tmp_path / "folder/1.jpg")
    touch(tmp_path / "tar.tar")
    numbered_video.write(tmp_path / "file.mp4", num_frames=12, frame_rate=6)
    parts = dict.fromkeys(["folder", "tar", "file"], "train")
    found = open_release(tmp_path, parts, {}, {}, max_bad_videos=0.9)
    assert [*found.videos] == ["file"]
    for name, path in (("folder", "folder"), ("tar", "tar.tar")):
        assert found.bad_videos[name].startswith(f"{tmp_path / path} holds frames, and")
        assert "video_info.json" in found.bad_videos[name]


def test_a_root_that_is_no_folder(tmp_path):
    with pytest.raises(ValueError, match=r"data_root .*none is not a folder"):
        open_release(tmp_path / "none", {"a": "train"}, {}, {})
