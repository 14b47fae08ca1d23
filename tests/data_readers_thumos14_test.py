"""The THUMOS14 reader: made-up files, and the counts of the release."""

import json
import logging
import pathlib

import pytest

from kd_keras.data.checks import labels as check_labels
from kd_keras.data.pairs import Timing, labeled_pairs, summarize_pairs, withhold_labels
from kd_keras.data.readers.thumos14 import NUM_ACTIONS, read_thumos14
from kd_keras.data.segments import Segment
from kd_keras.data.video.info import Video
from tests import numbered_video

SHARED = (pathlib.Path(__file__).parents[2] / "shared/data/thumos14").resolve()
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")

FILES = {
    "annotations_val/Diving_val.txt": "v_1  3.0 4.5\nv_1  6.5 8.0\n",
    "annotations_val/CliffDiving_val.txt": "v_1  3.0 4.5\n",
    "annotations_val/Ambiguous_val.txt": "v_1  1.0 1.5 \n",
    "annotations_val/._Diving_val.txt": "\0junk",
    "annotations_val/readme.txt": "words\n",
    "annotations_test/Diving_test.txt": "t_1  2.0 9.5\n\nt_1  9.9 12.0\n",
    "annotations_test/Ambiguous_test.txt": "t_2  1.0 1.5\n",
    "video_info.json": '{"v_1": {"fps": 25, "duration": 8.0}, '
    '"t_1": {"fps": 29.97, "duration": 9.0}}',
    "validation/v_1.mp4": "video",
    "test/t_1.mp4": "video",
}


@pytest.fixture
def small(tmp_path):
    for name, text in FILES.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_index_holds_what_the_files_say(small):
    index = read_thumos14(small)
    assert index.classes == ("CliffDiving", "Diving")
    assert index.videos == {
        "v_1": Video("v_1", small / "validation/v_1.mp4", "train"),
        "t_1": Video("t_1", small / "test/t_1.mp4", "test"),
    }
    assert index.durations_s == {"v_1": 8.0, "t_1": 9.0}
    assert index.segments == (
        Segment("v_1", 3.0, 4.5, "CliffDiving"),
        Segment("v_1", 6.5, 8.0, "Diving"),
        Segment("t_1", 2.0, 9.0, "Diving"),
    )
    assert [s.uid for s in index.segments][1] == "Diving_val:2"
    assert index.dropped == {
        "train: Ambiguous": 1,
        "test: Ambiguous": 1,
        "train: repeated_diving": 1,
        "test: after_the_end": 1,
    }


def test_folders_of_frames_have_the_rate_of_their_video(small):
    (small / "test/t_1.mp4").unlink()
    numbered_video.write_folder(small / "frames/t_1", range(1, 4))
    video = read_thumos14(small).videos["t_1"]
    assert (video.path, video.frame_rate) == (small / "frames/t_1", 29.97)


def test_without_video_info_the_videos_are_opened(small):
    (small / "video_info.json").unlink()
    for name in ("validation/v_1.mp4", "test/t_1.mp4"):
        numbered_video.write(small / name, num_frames=27, frame_rate=3)
    index = read_thumos14(small)
    assert index.durations_s == {"v_1": 9.0, "t_1": 9.0}
    assert set(index.infos) == {"v_1", "t_1"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("annotations_val/Diving_val.txt", "v_1 3.0\n", r"line 1: 'v_1 3.0' is not a"),
        ("annotations_val/Diving_val.txt", "\nv_1 3 x\n", r"Diving_val.txt: line 2: "),
        ("annotations_val/Diving_val.txt", "v_1 3 nan\n", r"line 1"),
        ("annotations_val/Diving_val.txt", "v_1 3 2\n", r"end 2 is not after the st"),
        ("annotations_val/Diving_val.txt", "v_1 -3 2\n", r"line 1"),
        ("annotations_val/Diving_val.txt", " \n", r"there is no row"),
        ("video_info.json", "{", r"video_info.json does not give a duration"),
        ("video_info.json", '{"v_1": {"fps": 1}}', r"KeyError\('duration'\)"),
        ("video_info.json", "[]", r"does not give"),
        ("video_info.json", '{"v_1": {"fps": 0, "duration": 1}}', r"must be above 0"),
    ],
)
def test_what_cannot_be_used_is_named(small, file, text, message):
    write(small / file, text)
    with pytest.raises(ValueError, match=message):
        read_thumos14(small)


def test_what_is_missing_is_named(small, tmp_path):
    with pytest.raises(ValueError, match=r"no text files <class>_val.txt .*nowhere/"):
        read_thumos14(tmp_path / "nowhere")
    (small / "test/t_1.mp4").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 videos cannot .*\n.*t_1: there"):
        read_thumos14(small, max_bad_videos=0.0)
    index = read_thumos14(small)
    assert list(index.bad_videos) == ["t_1"]
    assert {segment.video for segment in index.segments} == {"v_1"}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The real annotations; of each video an empty promise."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    root = tmp_path_factory.mktemp("thumos")
    for name in ("annotations_val", "annotations_test", "video_info.json"):
        (root / name).symlink_to(SHARED / name)
    for video in json.loads((SHARED / "video_info.json").read_text()):
        write(root / f"videos/{video}.mp4", "x")
    return root


def counts(index):
    parts = [index.videos[segment.video].part for segment in index.segments]
    return parts.count("train"), parts.count("test")


@needs_shared
def test_published_counts(release, caplog):
    with caplog.at_level(logging.INFO):
        index = read_thumos14(release)
    assert caplog.text == ""
    assert counts(index) == (2860, 3097) == tuple(NUM_ACTIONS.values())
    train, test = (
        {
            name.split(": ")[1]: number
            for name, number in index.dropped.items()
            if name.startswith(part) and "Ambiguous" not in name
        }
        for part in ("train", "test")
    )
    assert train == {"repeated_diving": 143, "after_the_end": 4}
    assert test == {"repeated_diving": 217, "after_the_end": 26, "wrong_video": 18}
    assert 2860 + sum(train.values()) == 3007 and 3097 + sum(test.values()) == 3358
    parts = [video.part for video in index.videos.values()]
    assert (parts.count("train"), parts.count("test")) == (200, 212)
    assert len(index.classes) == 20 and "Ambiguous" not in index.classes


@needs_shared
def test_what_is_left_of_the_release(release, caplog):
    index = read_thumos14(release)
    # The release's own; published counts hold it.
    (contradiction,) = check_labels.contradictions(index.segments)
    assert "'video_test_0000045' from 130.8 to 131.6 s" in contradiction
    assert all(
        segment.start_s < segment.end_s <= index.durations_s[segment.video]
        for segment in index.segments
    )
    summary = summarize_pairs(labeled_pairs(index, "train", Timing(1.0, 1.0)))
    assert summary.num_pairs - summary.num_padded == 2824
    half = withhold_labels(index, 0.5)
    assert len(labeled_pairs(half, "train", Timing(1.0, 1.0))) == 1430
    (release / "videos/video_test_0000004.mp4").rename(release / "elsewhere")
    read_thumos14(release)
    assert "test segments here; the release has 2860 and 3097" in caplog.text
    (release / "elsewhere").rename(release / "videos/video_test_0000004.mp4")
