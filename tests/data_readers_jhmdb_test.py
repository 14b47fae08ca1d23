"""The J-HMDB reader on the official layout, and its official counts."""

import csv
import logging
import pathlib
import shutil

import cv2
import numpy as np
import pytest

from kd_keras.data.pairs import Timing, labeled_pairs
from kd_keras.data.readers import probing
from kd_keras.data.readers.jhmdb import FRAME_RATE, NUM_CLIPS, read_jhmdb
from kd_keras.data.segments import Segment
from kd_keras.data.video.frame_times import frame_indices
from kd_keras.data.video.info import BadVideo, Video, VideoInfo

SHARED = (pathlib.Path(__file__).parents[2] / "shared/data/jhmdb").resolve()
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")


@pytest.fixture
def small(tmp_path):
    """Two classes, three clips, and what macOS leaves in an archive."""
    clips = {"wave": {"w+1": (1, 15), "w(2)": (2, 40)}, "catch": {"c@1": (1, 20)}}
    for label, listed in clips.items():
        for split in (1, 2, 3):
            text = "".join(
                f"{clip}.avi {part} \n" for clip, (part, _) in listed.items()
            )
            write(tmp_path / f"splits/{label}_test_split{split}.txt", text)
            write(tmp_path / f"splits/._{label}_test_split{split}.txt", "\0junk")
        for clip, (_, num_frames) in listed.items():
            folder = tmp_path / "Rename_Images" / label / clip
            for number in range(1, num_frames + 1):
                write_image(folder / f"{number:05d}.png")
            write(folder / "._00001.png", "junk")
            write(folder / ".AppleDouble/00001.png", "junk")
    write(tmp_path / "splits/.AppleDouble/wave_test_split1.txt", "junk")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((2, 2, 3), np.uint8))


def test_index_of_folders_of_frames(small):
    index = read_jhmdb(small)
    assert index.classes == ("catch", "wave")
    listed = {
        "c@1": ("catch", "train"),
        "w+1": ("wave", "train"),
        "w(2)": ("wave", "test"),
    }
    assert index.videos == {
        name: Video(
            name, small / "Rename_Images" / label / name, part, FRAME_RATE, group=name
        )
        for name, (label, part) in listed.items()
    }
    num_frames = {name: len(info.times_s) for name, info in index.infos.items()}
    assert num_frames == {"c@1": 20, "w+1": 15, "w(2)": 40}
    assert index.segments == (
        Segment("c@1", 0.0, 0.8, "catch"),
        Segment("w+1", 0.0, 0.6, "wave"),
        Segment("w(2)", 0.0, 1.6, "wave"),
    )


def test_clips_of_one_recording_are_a_group(small):
    names = {
        "BIG_FISH_wave_u_cm_np1_fr_bad_4": "BIG_FISH",
        "BIG_FISH_Wave_u_nm_np1_fr_goo_9": "BIG_FISH",
        "Hello_Wave_2_wave_f_nm_np2_le_med_0": "Hello_Wave_2",
        "own name": "own name",
    }
    lines = "\n".join(f"{name}.avi 1" for name in names)
    write(small / "splits/wave_test_split1.txt", lines)
    for name in names:
        write_image(small / "Rename_Images/wave" / name / "00001.png")
    videos = read_jhmdb(small).videos
    assert {name: videos[name].group for name in names} == names


def test_a_broken_clip_is_skipped(small):
    shutil.rmtree(small / "Rename_Images/wave/w(2)")
    (small / "Rename_Images/wave/w(2)").mkdir()
    index = read_jhmdb(small)
    assert list(index.bad_videos) == ["w(2)"]
    assert [segment.video for segment in index.segments] == ["c@1", "w+1"]
    with pytest.raises(ValueError, match=r"1 of 3 videos cannot be read"):
        read_jhmdb(small, max_bad_videos=0.0)


def test_there_are_three_splits(small):
    with pytest.raises(ValueError, match=r"splits 1, 2 and 3. Got split=4"):
        read_jhmdb(small, split=4)


def test_what_is_missing_is_named(small, tmp_path):
    with pytest.raises(ValueError, match=r"the split files.*nowhere/splits"):
        read_jhmdb(tmp_path / "nowhere")
    for path in (small / "splits").glob("*_split2.txt"):
        path.unlink()
    with pytest.raises(ValueError, match=r"<class>_test_split2.txt"):
        read_jhmdb(small, split=2)
    shutil.move(small / "Rename_Images", small / "elsewhere")
    with pytest.raises(
        ValueError, match=r"Rename_Images and .*ReCompress_Videos and .*JHMDB_video"
    ):
        read_jhmdb(small)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w+1.avi 3\n", r"wave_test_split1.txt, line 1: .*Got 'w\+1.avi 3'"),
        ("w+1.avi 1\n\nw.mpg 2\n", r"line 3"),
        ("w+1.avi\n", r"line 1"),
        (" \n", r"names no clip"),
        ("c@1.avi 2\n", r"c@1 is listed twice in split 1, under catch and wave"),
    ],
)
def test_broken_split_files(small, text, message):
    write(small / "splits/wave_test_split1.txt", text)
    with pytest.raises(ValueError, match=message):
        read_jhmdb(small)


def test_split_files_may_begin_with_a_byte_order_mark(small):
    expected = read_jhmdb(small)
    for path in small.glob("splits/[!.]*_split1.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_jhmdb(small) == expected
    path.write_bytes(b"\xff\xfec\0@\0")
    with pytest.raises(ValueError, match=f"{path.name}, line 1: not UTF-8 text"):
        read_jhmdb(small)


@pytest.fixture
def official(tmp_path, monkeypatch):
    """The real lists and numbers of frames; the clips exist in name alone."""
    shutil.copytree(SHARED / "splits", tmp_path / "splits")
    (tmp_path / "Rename_Images").mkdir()
    with (SHARED / "frames_per_clip.csv").open(newline="") as file:
        num_frames = {row["video"]: int(row["frames"]) for row in csv.DictReader(file)}

    def probe(video):
        if video.name not in num_frames:
            raise BadVideo(video.name, "is not there")
        times_s = np.arange(num_frames[video.name]) / video.frame_rate
        return VideoInfo(times_s, len(times_s) / video.frame_rate, 240, 320)

    monkeypatch.setattr(probing, "probe", probe)
    return tmp_path, num_frames


@needs_shared
@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_counts(official, split, caplog):
    root, num_frames = official
    with caplog.at_level(logging.INFO):
        index = read_jhmdb(root, split)
    assert caplog.text == ""
    assert len(index.classes) == 21
    assert index.classes[0] == "brush_hair"
    assert index.classes[-1] == "wave"
    pairs = {
        part: labeled_pairs(index, part, Timing(observed_fraction=0.2))
        for part in ("train", "test")
    }
    counts = {1: (660, 268), 2: (658, 270), 3: (663, 265)}[split]
    assert (len(pairs["train"]), len(pairs["test"])) == counts
    assert counts == tuple(NUM_CLIPS[split].values())
    for pair in pairs["train"] + pairs["test"]:
        name = pair.observed.video
        times_s = np.arange(num_frames[name]) / FRAME_RATE
        # In whole numbers, 0.2 N rounded is (N + 2) // 5.
        assert sum(times_s < pair.observed.end_s) == (num_frames[name] + 2) // 5
        assert sum(times_s < pair.future.end_s) == num_frames[name]
        assert pair.observed.start_s == pair.future.start_s == 0


@needs_shared
def test_other_counts_warn_and_a_subset_does_not(official, caplog):
    root, num_frames = official
    del num_frames["April_09_brush_hair_u_nm_np1_ba_goo_0"]
    read_jhmdb(root)
    assert "660 train and 267 test segments here; the release has 660" in caplog.text
    caplog.clear()
    for path in (root / "splits").glob("[c-w]*"):
        path.unlink()
    with caplog.at_level(logging.INFO):
        read_jhmdb(root)
    assert "1 of 21 classes, a subset" in caplog.text
    assert "release" not in caplog.text


@needs_shared
@pytest.mark.parametrize("archive_folder", ["", "JHMDB_video"])
def test_real_clip_as_video(tmp_path, archive_folder):
    clip = "Goal_Keeping_Tips_catch_f_cm_np1_fr_med_2"
    write(tmp_path / "splits/catch_test_split1.txt", f"{clip}.avi 1\n")
    folder = tmp_path / archive_folder / "ReCompress_Videos"
    shutil.copytree(SHARED / "sample/ReCompress_Videos", folder)
    index = read_jhmdb(tmp_path)
    assert index.videos[clip].frame_rate is None
    times_s = index.infos[clip].times_s
    assert len(times_s) == 40
    # The release's own videos confirm the rate that its frames are given...
    assert index.durations_s[clip] == pytest.approx(40 / FRAME_RATE)
    (pair,) = labeled_pairs(index, "train", Timing(observed_fraction=0.2))
    # ... though their frames are unevenly spaced. A fifth is eight frames here, too.
    assert sum(times_s < pair.observed.end_s) == 8
    chosen = frame_indices(times_s, 1.6, 0.0, pair.observed.end_s, 64)
    assert set(chosen) == set(range(8))
