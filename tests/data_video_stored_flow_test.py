"""Stored flow is found, read and refused; clips of flow hold the motion before them."""

import dataclasses
import pathlib
import tarfile

import cv2
import numpy as np
import pytest

from kd_keras.data.batches.from_clips import evaluation_batches, training_batches
from kd_keras.data.batches.stream import Stream
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.readers.flow_folders import attach_flow
from kd_keras.data.segments import TRAIN, Clip, Index, Pair
from kd_keras.data.video import flow as flow_lib
from kd_keras.data.video import reading, stored_flow
from kd_keras.data.video.flow import EPIC_FLOW, I3D_FLOW
from kd_keras.data.video.info import Video
from tests import tars

_SAMPLE = (
    pathlib.Path(__file__).parents[2] / "shared/data/epic_kitchens_55/sample_frames"
)
_FORMAT = ClipFormat(
    num_frames=6, image_size=32, fit="stretch", resize_ratio=1, modality="flow"
)


def _scene(num_frames, side=40):
    """RGB frames of a texture that moves to the right ever faster."""
    random = np.random.default_rng(3)
    texture = random.integers(0, 256, (side, 2 * side, 3), np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 2)
    shifts = np.cumsum(np.arange(num_frames)) // 6
    return np.stack([np.roll(texture, int(s), axis=1)[:, :side] for s in shifts])


def _write_frames(path, frames):
    path.mkdir(parents=True)
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(path / f"{number:05d}.png"), frame[..., ::-1])
    return path


def _levels(count, side=24, start=1):
    """Flow images whose level tells their number: u is 2n, v is 255 - 2n."""
    images = {}
    for number in range(start, start + count):
        images[f"u/frame_{number:010d}"] = np.full((side, side), 2 * number, np.uint8)
        images[f"v/frame_{number:010d}"] = np.full(
            (side, side), 255 - 2 * number, np.uint8
        )
    return images


def _write_flow(path, images, suffix=".png"):
    if path.suffix == ".tar":
        return tars.write(path, images, suffix)
    for name, image in images.items():
        file = path / f"{name}{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), image)
    return path


@pytest.fixture(scope="module")
def frames_folder(tmp_path_factory):
    """60 frames, 60 per second."""
    return _write_frames(tmp_path_factory.mktemp("videos") / "v", _scene(60))


def _video(path, flow_path=None, frame_rate=60.0, encoding=EPIC_FLOW, rate=None):
    return Video("v", path, TRAIN, frame_rate, flow_path, encoding, rate)


def _probe_flow(video):
    return stored_flow.probe_flow(video, reading.probe(video))


@pytest.mark.parametrize("name", ["v", "v.tar"])
def test_released_flow_reads_at_its_own_rate(tmp_path, frames_folder, name):
    path = _write_flow(tmp_path / name, _levels(29))
    video = _video(frames_folder, path)
    info = _probe_flow(video)
    # Every second frame is compared with the third after it.
    np.testing.assert_allclose(info.times_s, np.arange(29) / 30 + 3 / 60)
    assert (info.height, info.width, info.duration_s) == (24, 24, 1.0)
    levels = stored_flow.read_flow_levels(video, info, [28, 0, 3, 3])
    assert levels.shape == (4, 24, 24, 2) and levels.dtype == np.uint8
    assert levels[:, 5, 5, 0].tolist() == [58, 2, 8, 8]
    assert levels[:, 5, 5, 1].tolist() == [197, 253, 247, 247]
    small = stored_flow.read_flow_levels(video, info, [0], size=(10, 12))
    assert small.shape == (1, 12, 10, 2) and set(small.ravel()) == {2, 253}


class _Bad:
    """Changes that make the flow of 60 frames unusable, with the reason."""

    def missing(images):
        return None, "its flow .* does not exist"

    def another_count(images):
        return _levels(60), "60 flow images; its 60 frames .* give about 30 at 30 per"

    def too_few(images):
        return _levels(20), "holds 20 flow images"

    def u_and_v_differ(images):
        del images["v/frame_0000000029"]
        return images, "29 flow images in u and 28 in v"

    def no_v(images):
        return {n: i for n, i in images.items() if n[0] == "u"}, "v holds no numbered"

    def a_gap(images):
        for channel in "uv":
            del images[f"{channel}/frame_0000000007"]
        return images, "u has no frame number 7"

    def frames_instead(images):
        return {n[2:]: i for n, i in images.items()}, "u holds no numbered"


@pytest.mark.parametrize("name", ["v", "v.tar"])
@pytest.mark.parametrize("kind", [k for k in vars(_Bad) if not k.startswith("_")])
def test_flow_that_cannot_be_used_is_refused(tmp_path, frames_folder, kind, name):
    images, reason = getattr(_Bad, kind)(_levels(29))
    path = tmp_path / name
    if images is not None:
        _write_flow(path, images)
    with pytest.raises(reading.BadVideo, match=f"^v: .*({reason})"):
        _probe_flow(_video(frames_folder, path))


def test_flow_of_two_sizes_or_damaged_is_named(tmp_path, frames_folder):
    images = _levels(29)
    images["v/frame_0000000003"] = np.zeros((20, 24), np.uint8)
    video = _video(frames_folder, _write_flow(tmp_path / "v", images))
    info = _probe_flow(video)
    with pytest.raises(
        reading.BadVideo, match=r"v/frame_0000000003\.png is 24 x 20 pixels"
    ):
        stored_flow.read_flow_levels(video, info, [0, 2])
    (tmp_path / "v/u/frame_0000000001.png").write_bytes(b"\x89PNG")
    with pytest.raises(reading.BadVideo, match=r"0001\.png cannot be read"):
        stored_flow.read_flow_levels(video, info, [0])


def test_flow_beside_a_file_needs_a_rate(tmp_path):
    path = tmp_path / "v.mp4"
    reading.write_video(path, _scene(30), 30)
    flow_path = _write_flow(tmp_path / "v", _levels(29))
    video = _video(path, flow_path, None, I3D_FLOW)
    with pytest.raises(ValueError, match="needs a flow_frame_rate"):
        _probe_flow(video)
    assert len(_probe_flow(dataclasses.replace(video, flow_frame_rate=30)).u) == 29


# Clips.


def _load(video, start_s, end_s, **changes):
    clip_format = dataclasses.replace(_FORMAT, **changes)
    return ClipLoader({"v": video}, clip_format, cache="off").load(
        Clip("v", start_s, end_s)
    )


def test_a_stored_clip_shows_what_was_seen_by_each_moment(tmp_path, frames_folder):
    path = _write_flow(tmp_path / "v.tar", _levels(29))
    video = _video(frames_folder, path)

    def shown(start_s, end_s):
        clip = _load(video, start_s, end_s, flow_encoding=EPIC_FLOW)
        assert clip.shape == (6, 32, 32, 2) and clip.dtype == np.uint8
        return (clip[:, 4, 4, 0] // 2).tolist()

    # Number n (from 1) is known at (n - 1) / 30 + 0.05 s, and shown from then on.
    assert shown(0.45, 0.65) == [13, 14, 15, 16, 17, 18]
    # The last that is known before 0.5 s is number 14, from 0.483 s on.
    assert max(shown(0.3, 0.5)) == 14
    assert shown(0.0, 0.25) == [1, 2, 3, 4, 5, 6]
    assert shown(-0.2, 0.07) == [1] * 6
    # Nothing can have moved yet.
    assert shown(-0.5, 0.04) == [64] * 6


def test_another_encoding_is_translated(tmp_path, frames_folder):
    path = _write_flow(tmp_path / "v.tar", _levels(29))
    video = _video(frames_folder, path)
    as_released = _load(video, 0.2, 0.9, flow_encoding=EPIC_FLOW)
    as_i3d = _load(video, 0.2, 0.9)
    np.testing.assert_allclose(
        I3D_FLOW.dequantize(as_i3d),
        EPIC_FLOW.dequantize(as_released),
        atol=2 / 255 + 1e-6,
    )


@pytest.mark.parametrize("method", flow_lib.FLOW_METHODS)
def test_a_computed_clip_is_the_recipe_at_25_frames_per_second(tmp_path, method):
    path = _write_frames(tmp_path / "v", _scene(12))
    video = _video(path, frame_rate=25.0, encoding=None)
    # 6 frames and the motion that led to each: 7 frames are read.
    clip = _load(video, 5 / 25, 11 / 25, flow_method=method, image_size=40)
    frames = [cv2.imread(str(path / f"{n:05d}.png")) for n in range(5, 12)]
    flow = flow_lib.compute_flow(np.stack(frames)[..., ::-1], method)
    # In pixels of a picture 256 high.
    flow *= np.float32(256 / 40)
    expected = ((np.clip(flow, -20, 20) + 20) / 40 * 255).astype(np.uint8)
    np.testing.assert_array_equal(clip, expected)


def test_flow_is_in_pixels_of_256_per_25th_of_a_second(tmp_path):
    """Whatever the rate of the video and the size of the clip."""
    path = _write_frames(tmp_path / "v", np.repeat(_scene(20), 2, axis=0))
    slow = _write_frames(tmp_path / "w", _scene(20))
    once = _load(_video(path, frame_rate=50.0), 0.4, 0.64, flow_method="dis")
    twice = _load(_video(slow, frame_rate=25.0), 0.4, 0.64, flow_method="dis")
    np.testing.assert_array_equal(once, twice)
    # At 12.5 frames per second the same pictures move half as fast.
    halved = _load(_video(slow, frame_rate=12.5), 0.8, 1.28, flow_method="dis")
    np.testing.assert_allclose(
        halved[..., 0].astype(int) - 127, (twice[..., 0].astype(int) - 127) / 2, atol=1
    )
    # Frame 15 moves 3 of 40 pixels, 3 * 256 / 40 = 19.2 of 256.
    u_px = I3D_FLOW.dequantize(twice[-1, 8:24, 8:24, 0]) * 20
    assert np.median(u_px) == pytest.approx(19.2, abs=0.5)


def test_a_clip_at_the_start_has_one_flow_less_than_frames(tmp_path):
    video = _video(_write_frames(tmp_path / "v", _scene(24)[12:]), frame_rate=25.0)
    three = _load(video, 0, 3 / 25, flow_method="dis")
    # Of 3 frames 2 flows, each 3 times.
    assert [(three[i] == three[0]).all() for i in range(6)] == [True] * 3 + [False] * 3
    with pytest.raises(ValueError, match="v: .*holds 2 frames, fewer than"):
        _load(video, 0, 3 / 25, flow_method="dis", short_clip="error")
    # One frame has none: it stands still.
    assert set(_load(video, 0, 1 / 25, flow_method="dis").ravel()) == {127}
    assert set(_load(video, -2, -1, flow_method="dis").ravel()) == {127}


def test_no_flow_looks_at_or_after_the_end(tmp_path):
    frames = _scene(40)
    changed = frames.copy()
    changed[20:] = 255 - changed[20:]
    videos = [
        _video(_write_frames(tmp_path / name, some), frame_rate=25.0)
        for name, some in (("a", frames), ("b", changed))
    ]
    for start_s in (0.0, 0.3, 0.61):
        one, other = (
            _load(video, start_s, 20 / 25, flow_method="dis") for video in videos
        )
        np.testing.assert_array_equal(one, other)


def test_the_cache_keeps_flow_apart_from_rgb_and_from_other_flow(tmp_path):
    path = _write_frames(tmp_path / "v", _scene(30))
    flow_path = _write_flow(tmp_path / "flow" / "v", _levels(29))
    computed = _video(path, frame_rate=30.0, encoding=None)
    stored = dataclasses.replace(computed, flow_path=flow_path)
    clip = Clip("v", 0.2, 0.6)

    def load(video, **changes):
        clip_format = dataclasses.replace(_FORMAT, flow_method="dis", **changes)
        loader = ClipLoader({"v": video}, clip_format, "disk", tmp_path / "cache")
        assert loader.estimate_bytes([clip]) == 6 * 32 * 32 * clip_format.channels
        return loader.load(clip)

    loaded = [load(computed), load(stored), load(computed, modality="rgb")]
    assert [c.shape[-1] for c in loaded] == [2, 2, 3]
    assert (loaded[0] != loaded[1]).any()
    assert len(list((tmp_path / "cache").glob("*/*.npy"))) == 3
    again = [load(computed), load(stored), load(computed, modality="rgb")]
    for one, other in zip(loaded, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(list((tmp_path / "cache").glob("*/*.npy"))) == 3


@pytest.mark.parametrize("encoding", [I3D_FLOW, EPIC_FLOW], ids=["i3d", "epic"])
def test_batches_of_flow_share_crop_and_flip_and_turn_u(
    tmp_path, frames_folder, encoding
):
    random = np.random.default_rng(0)
    images = {
        name: cv2.resize(random.integers(0, 256, (6, 6), np.uint8), (40, 40))
        for name in _levels(29 if encoding == EPIC_FLOW else 59)
    }
    path = _write_flow(tmp_path / "v.tar", images)
    video = _video(frames_folder, path, encoding=encoding)
    clip_format = dataclasses.replace(
        _FORMAT, flow_encoding=encoding, resize_ratio=1.25
    )
    loader = ClipLoader({"v": video}, clip_format)
    pair = Pair(Clip("v", 0.1, 0.5), Clip("v", 0.1, 0.5), 0)
    plain = loader.load(pair.observed)

    evaluated = next(iter(evaluation_batches([pair], loader, batch_size=1)))
    center = evaluated["observed"][0].numpy()
    np.testing.assert_allclose(
        center, encoding.dequantize(plain[:, 4:36, 4:36]), atol=1e-6
    )
    # Colors are not for flow.
    options = Augmentation(crop=False, flip=1.0, brightness=1, contrast=1, saturation=1)
    stream = Stream([pair], 1)
    flipped = next(iter(training_batches(stream, loader, augmentation=options)))
    np.testing.assert_array_equal(flipped["observed"], flipped["future"])
    mirrored = flipped["observed"][0].numpy()[:, :, ::-1]
    np.testing.assert_array_equal(mirrored[..., 1], center[..., 1])
    # One level of the bound, as no motion is between two levels.
    one_level = 2 * encoding.bound_px / 20 / 255
    np.testing.assert_allclose(mirrored[..., 0], -center[..., 0], atol=1.01 * one_level)


# Data sets.


def _index(*videos):
    names = {video.name: video for video in videos}
    return Index((), names, dict.fromkeys(names, 1.0), (), {})


def test_flow_is_found_below_one_folder(tmp_path):
    root = tmp_path / "flow"
    _write_flow(root / "train/P01/P01_01.tar", _levels(2))
    _write_flow(root / "brush_hair/clip 1", _levels(2))
    _write_flow(root / "day/monday", _levels(2))
    _write_flow(root / "night/monday", _levels(2))
    _write_flow(root / "take.2", _levels(2))
    paths = {
        "P01_01": "rgb/train/P01/P01_01.tar",
        "clip 1": "Rename_Images/brush_hair/clip 1",
        "day/monday.mp4": "day/monday.mp4",
        "elsewhere.mp4": "elsewhere.mp4",
    }
    index = _index(
        *(Video(name, tmp_path / path, TRAIN) for name, path in paths.items()),
        Video("take.2", tmp_path / "take.2", TRAIN, 25.0),
    )
    found = attach_flow(index, root, EPIC_FLOW, 30.0).videos
    assert {name: video.flow_path for name, video in found.items()} == {
        "P01_01": root / "train/P01/P01_01.tar",
        "clip 1": root / "brush_hair/clip 1",
        "day/monday.mp4": root / "day/monday",
        "elsewhere.mp4": None,
        "take.2": root / "take.2",
    }
    assert found["P01_01"].flow_encoding == EPIC_FLOW
    assert found["P01_01"].flow_frame_rate == 30.0
    with pytest.raises(ValueError, match="monday has its flow twice below"):
        attach_flow(_index(Video("monday", tmp_path / "monday", TRAIN)), root, I3D_FLOW)
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        attach_flow(index, tmp_path / "nowhere", I3D_FLOW)


@pytest.mark.skipif(not _SAMPLE.exists(), reason="the sample frames are not here")
@pytest.mark.parametrize("unpacked", [False, True], ids=["tar", "unpacked"])
def test_the_real_flow_of_epic_kitchens(tmp_path, unpacked):
    paths = {m: _SAMPLE / m / "train/P01/P01_01.tar" for m in ("rgb", "flow")}
    if unpacked:
        for modality, path in paths.items():
            paths[modality] = tmp_path / modality / "P01_01"
            with tarfile.open(path) as tar:
                tar.extractall(paths[modality], filter="data")
    # The sample was resampled: 30 frames per second with one flow each.
    video = Video("P01_01", paths["rgb"], TRAIN, 30.0, paths["flow"], EPIC_FLOW, 30.0)
    info = _probe_flow(video)
    assert (len(info.u), info.height, info.width) == (100, 256, 456)
    with tarfile.open(_SAMPLE / "flow/train/P01/P01_01.tar") as tar:
        expected = [
            cv2.imdecode(
                np.frombuffer(tar.extractfile(f"{c}/frame_{41:010d}.jpg").read(), "u1"),
                cv2.IMREAD_GRAYSCALE,
            )
            for c in "uv"
        ]
    levels = stored_flow.read_flow_levels(video, info, [40])
    np.testing.assert_array_equal(levels[0], np.stack(expected, axis=-1))
    # Over the whole clip, standing still is what there is most of.
    levels = stored_flow.read_flow_levels(video, info, range(100))
    assert np.bincount(levels.ravel()).argmax() == EPIC_FLOW.zero_level
    clip = _load(video, 0.5, 1.5, flow_encoding=EPIC_FLOW)
    assert clip.shape == (6, 32, 32, 2)
    wrong = dataclasses.replace(video, frame_rate=60.0, flow_frame_rate=None)
    with pytest.raises(reading.BadVideo, match="100 flow images; its 100 frames"):
        _probe_flow(wrong)
