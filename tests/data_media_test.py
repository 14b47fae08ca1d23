"""Finding the videos of a release, which are not opened where it can be helped."""

import pytest

from kd_keras.data import media
from kd_keras.data.media import find_media, open_release
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
    touch(tmp_path / ".trash/f.tar")
    assert find_media(tmp_path, ["b", "c", "d", "e", "f"]) == {
        "b": tmp_path / "x/b.tar",
        "c": tmp_path / "a/c.mkv",
        "d": tmp_path / "z/d",
    }


def test_the_frames_of_a_video_are_not_looked_through(tmp_path, monkeypatch):
    touch(tmp_path / "rgb/a/b/c.tar")
    looked_at = []
    walk = media.os.walk

    def spied(*args, **kwargs):
        for found in walk(*args, **kwargs):
            looked_at.append(found[0])
            yield found

    monkeypatch.setattr(media.os, "walk", spied)
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


def test_a_root_that_is_no_folder(tmp_path):
    with pytest.raises(ValueError, match=r"data_root .*none is not a folder"):
        open_release(tmp_path / "none", {"a": "train"}, {}, {})
