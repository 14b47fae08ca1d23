"""Batches are a function of the seed and the position; clips change as wholes."""

import numpy as np
import pytest
import tensorflow as tf

from kd_keras.data import kept_arrays
from kd_keras.data.batches import from_clips
from kd_keras.data.batches import stream as stream_lib
from kd_keras.data.batches.fields import FUTURE, INDEX, LABEL, LABELED, OBSERVED
from kd_keras.data.batches.order import SamplingPolicy
from kd_keras.data.batches.stream import Stream
from kd_keras.data.clips import augment as augment_lib
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.segments import TRAIN, Clip, Pair
from kd_keras.data.video.info import Video
from tests import numbered_video

# Whole pictures, so that their numbers can be read.
_WHOLE = ClipFormat(num_frames=4, image_size=24, fit="stretch", resize_ratio=1)
_CROPPED = ClipFormat(num_frames=4, image_size=24)
_AS_IT_IS = Augmentation(crop=False, flip=0)
_COLORED = Augmentation(brightness=0.3, contrast=0.3, saturation=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    numbered_video.write(folder / "a.mp4", 60, frame_rate=20, g="10")
    numbered_video.write(folder / "b.mp4", 60, frame_rate=20, g="10", size=(64, 48))
    (folder / "x.mp4").write_bytes(b"")
    (folder / "y.mp4").write_bytes(b"")
    return folder


def _loader(folder, clip_format=_WHOLE, max_bad_videos=1.0, **options):
    videos = {n: Video(n, folder / f"{n}.mp4", TRAIN) for n in "abxy"}
    return ClipLoader(videos, clip_format, max_bad_videos=max_bad_videos, **options)


def _pairs(names="aaaaaab"):
    """Pair k shows frames k, k+1, .. then k+20, ..; every third has no label."""
    return [
        Pair(
            Clip(name, k / 20, (k + 4) / 20),
            Clip(name, (k + 20) / 20, (k + 24) / 20),
            None if k % 3 == 0 else k,
        )
        for k, name in enumerate(names)
    ]


def _batches(pairs, loader, num, batch_size=3, seed=0, start_step=0, **options):
    """Batches of the training stream."""
    stream = Stream(pairs, batch_size, seed, start_step)
    batches = from_clips.training_batches(stream, loader, **options)
    return list(batches.take(num).as_numpy_iterator())


def _evaluated(pairs, loader, **options):
    """All batches of evaluation."""
    batches = from_clips.evaluation_batches(pairs, loader, batch_size=3, **options)
    return list(batches.as_numpy_iterator())


def _assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for field in batch:
            np.testing.assert_array_equal(batch[field], other[field])


def test_the_shapes_are_known_without_reading_a_video(folder):
    spec = from_clips.training_batches(
        Stream(_pairs(), 3), _loader(folder)
    ).element_spec
    clips = tf.TensorSpec((3, 4, 24, 24, 3), tf.float32)
    assert spec == {
        OBSERVED: clips,
        FUTURE: clips,
        LABEL: tf.TensorSpec((3,), tf.int32),
        LABELED: tf.TensorSpec((3,), tf.bool),
        INDEX: tf.TensorSpec((3,), tf.int64),
    }
    spec = from_clips.evaluation_batches(
        _pairs(), _loader(folder), batch_size=3, fields=[OBSERVED]
    ).element_spec
    assert FUTURE not in spec
    assert spec[OBSERVED].shape == (None, 4, 24, 24, 3)


def test_evaluation_gives_each_pair_once_in_order(folder):
    pairs = _pairs("abababa")
    batches = _evaluated(pairs, _loader(folder))
    assert [len(batch[INDEX]) for batch in batches] == [3, 3, 1]
    whole = {f: np.concatenate([batch[f] for batch in batches]) for f in batches[0]}
    assert whole[INDEX].tolist() == [*range(7)]
    assert whole[LABELED].tolist() == [k % 3 != 0 for k in range(7)]
    assert whole[LABEL].tolist() == [0, 1, 2, 0, 4, 5, 0]
    for k in range(7):
        for field, first in ((OBSERVED, k), (FUTURE, k + 20)):
            shown = numbered_video.numbers((whole[field][k] + 1) * 127.5)
            assert shown == [*range(first, first + 4)]


def test_evaluation_cuts_out_the_center(folder):
    loader, pairs = _loader(folder, _CROPPED), _pairs("ab")
    (batch,) = _evaluated(pairs, loader)
    for k, pair in enumerate(pairs):
        frames = loader.load(pair.future)
        top, left = ((side - 24) // 2 for side in frames.shape[1:3])
        center = frames[:, top : top + 24, left : left + 24]
        expected = center.astype(np.float32) / 127.5 - 1
        np.testing.assert_allclose(batch[FUTURE][k], expected, atol=1e-6)


def test_evaluation_cuts_out_the_corners(folder):
    loader, pairs = _loader(folder, _CROPPED), _pairs("axb")
    (batch,) = _evaluated(pairs, loader, corners=True)
    (center,) = _evaluated(pairs, loader)
    assert batch[INDEX].tolist() == [0, 2]
    for k, pair in enumerate([pairs[0], pairs[2]]):
        frames = loader.load(pair.future).astype(np.float32) / 127.5 - 1
        top, left, bottom, right = (
            slice(24),
            slice(24),
            slice(-24, None),
            slice(-24, None),
        )
        expected = [center[FUTURE][k]]
        expected += [frames[:, top, left], frames[:, top, right]]
        expected += [frames[:, bottom, left], frames[:, bottom, right]]
        np.testing.assert_allclose(batch[FUTURE][k], expected, atol=1e-6)


def test_evaluation_leaves_out_what_cannot_be_read(folder):
    loader = _loader(folder)
    batches = _evaluated(_pairs("axaxxab"), loader)
    assert np.concatenate([b[INDEX] for b in batches]).tolist() == [0, 2, 5, 6]
    assert list(loader.bad_videos) == ["x"]


@pytest.mark.parametrize("batch_size", [2, 3, 7, 10])
def test_each_pass_visits_each_pair_once(folder, batch_size):
    pairs = _pairs()
    batches = _batches(pairs, _loader(folder), 3 * 7, batch_size)
    order = np.concatenate([batch[INDEX] for batch in batches]).reshape(-1, 7)
    for visited in order:
        assert sorted(visited) == [*range(7)]
    assert len({tuple(visited) for visited in order}) > 1


def test_the_stream_is_a_function_of_the_seed(folder, monkeypatch):
    options = dict(num=5, augmentation=_COLORED)
    pairs, loader = _pairs(), _loader(folder, _CROPPED)
    batches = _batches(pairs, loader, seed=3, **options)
    for num_threads in (1, 4):
        monkeypatch.setattr(stream_lib, "num_cores", lambda n=num_threads: n)
        again = _batches(pairs, _loader(folder, _CROPPED), seed=3, **options)
        _assert_same(batches, again)
    other = _batches(pairs, loader, seed=4, **options)
    indices, others = ([b[INDEX].tolist() for b in x] for x in (batches, other))
    assert indices != others
    _batches(pairs, loader, seed=-1, **options)


@pytest.mark.parametrize("start_step", [1, 2, 7, 1000])
def test_a_resumed_stream_goes_on_where_it_was(folder, start_step):
    options = dict(augmentation=_COLORED, same_augmentation=False, seed=5)
    pairs, loader = _pairs(), _loader(folder, _CROPPED)
    resumed = _batches(pairs, loader, 2, start_step=start_step, **options)
    if start_step < 1000:
        whole = _batches(pairs, loader, start_step + 2, **options)
        _assert_same(resumed, whole[start_step:])
    else:
        further = _batches(pairs, loader, 3, start_step=start_step - 1, **options)
        _assert_same(resumed, further[1:])


def test_one_draw_for_both_clips_or_one_for_each(folder):
    # The two clips are the same, so the same parameters give the same pixels.
    clips = [Clip("a", k / 20, k / 20 + 0.3) for k in range(6)]
    pairs = [Pair(clip, clip, 0) for clip in clips]
    loader = _loader(folder, _CROPPED)
    for same_augmentation in (True, False):
        batch, *_ = _batches(
            pairs,
            loader,
            1,
            6,
            augmentation=_COLORED,
            same_augmentation=same_augmentation,
        )
        for k in range(6):
            same = np.array_equal(batch[OBSERVED][k], batch[FUTURE][k])
            assert same == same_augmentation


def test_a_mirror_image_is_one_for_all_frames_and_half_of_the_time(folder):
    pairs, loader = _pairs("aaaaaa"), _loader(folder)
    augmentation = Augmentation(crop=False, flip=0.5)
    mirrored = []
    for batch in _batches(pairs, loader, 10, 6, augmentation=augmentation):
        for k, index in enumerate(batch[INDEX]):
            plain = loader.load(pairs[index].observed) / 127.5 - 1
            flipped = np.abs(batch[OBSERVED][k] - plain[:, :, ::-1]).max() < 1e-6
            assert flipped or np.abs(batch[OBSERVED][k] - plain).max() < 1e-6
            mirrored.append(flipped)
    assert 18 <= sum(mirrored) <= 42  # of 60: three standard deviations
    always = Augmentation(crop=False, flip=1)
    (batch,) = _batches(pairs, loader, 1, 6, augmentation=always)
    for k, index in enumerate(batch[INDEX]):
        plain = loader.load(pairs[index].future) / 127.5 - 1
        np.testing.assert_allclose(batch[FUTURE][k], plain[:, :, ::-1], atol=1e-6)


def test_values_lie_between_minus_one_and_one(folder):
    strong = Augmentation(brightness=1, contrast=1, saturation=1)
    batches = _batches(_pairs(), _loader(folder), 8, augmentation=strong)
    values = np.stack([batch[OBSERVED] for batch in batches])
    assert values.dtype == np.float32
    assert values.min() == -1 and values.max() == 1
    (plain,) = _batches(_pairs(), _loader(folder), 1, augmentation=_AS_IT_IS)
    assert plain[OBSERVED].min() < -0.95 and plain[OBSERVED].max() > 0.95


def test_a_bad_pair_is_replaced_and_the_others_keep_their_positions(folder):
    names = "aaxaxxb"
    good = _batches(_pairs("aaaaaab"), _loader(folder), 14, 1)
    loader = _loader(folder)
    mended = _batches(_pairs(names), loader, 14, 1)
    replacement = {2: 3, 4: 6, 5: 6}
    for batch, other in zip(good, mended, strict=True):
        (index,) = batch[INDEX]
        if index in replacement:
            assert other[INDEX] == [replacement[index]]
        else:
            _assert_same([batch], [other])
    assert list(loader.bad_videos) == ["x"]


def test_a_bad_pair_is_replaced_by_one_of_its_kind_where_kinds_are_counted(folder):
    # Pairs 0 and 3 have no label. Of each kind there is one that can be read, at least.
    loader = _loader(folder)
    sampling = SamplingPolicy(labeled_per_batch=2, batch_size=3)
    stream = Stream(_pairs("aaxxbb"), 3, sampling=sampling)
    batches = from_clips.training_batches(stream, loader).take(4).as_numpy_iterator()
    shown = [sorted(batch[INDEX].tolist()) for batch in batches]
    # Pair 0 in place of 3. A pass has the labeled ones 1, 4, 5 and, in place of 2, 4.
    assert [pairs[0] for pairs in shown] == [0, 0, 0, 0]
    labeled = [index for pairs in shown for index in pairs[1:]]
    assert sorted(labeled) == [1, 1, 4, 4, 4, 4, 5, 5]
    assert list(loader.bad_videos) == ["x"]


def test_only_the_fields_asked_for_are_decoded(folder):
    pairs = [Pair(pair.observed, Clip("x", 0, 1), 1) for pair in _pairs("aaa")]
    loader = _loader(folder)
    (batch,) = _evaluated(pairs, loader, fields=[OBSERVED])
    assert batch.keys() == {OBSERVED, LABEL, LABELED, INDEX}
    assert not loader.bad_videos


def test_workers_make_the_rows_that_follow_each_other(folder):
    pairs = _pairs("aabbab")
    whole = _batches(pairs, _loader(folder), 3, batch_size=6, start_step=2)
    for worker in range(3):
        rows = _batches(
            pairs,
            _loader(folder),
            3,
            batch_size=6,
            start_step=2,
            shard=(worker, 3),
        )
        _assert_same(
            [{k: v[2 * worker :][:2] for k, v in batch.items()} for batch in whole],
            rows,
        )


def test_a_full_disk_ends_the_training_in_a_sentence(folder, tmp_path, monkeypatch):
    def full(path, array):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(kept_arrays, "write_array", full)
    loader = _loader(folder, cache="disk", cache_dir=tmp_path)
    with pytest.raises(tf.errors.OpError) as caught:
        _batches(_pairs("aab"), loader, 1)
    said = stream_lib.refusal(caught.value)
    assert said.startswith(
        f"The disk cache in {tmp_path} cannot be written: [Errno 28]"
    )
    assert "Make room" in said and "Traceback" not in said


def test_too_many_bad_videos_end_the_training_with_their_names(folder):
    loader = _loader(folder, max_bad_videos=0.25)
    with pytest.raises(tf.errors.OpError) as caught:
        _batches(_pairs("axyaab"), loader, 6)
    said = stream_lib.refusal(caught.value)
    assert said.startswith("2 of 4 videos cannot be read") and "Traceback" not in said
    assert "\n  x: " in said and "\n  y: " in said
    with pytest.raises(tf.errors.OpError, match="None of the 2 pairs can be read"):
        _batches(_pairs("xx"), _loader(folder), 1)
    other = tf.errors.InvalidArgumentError(None, None, "ValueError: of TensorFlow")
    assert stream_lib.refusal(other) is None


def test_arguments_that_make_no_sense_are_refused(folder):
    loader = _loader(folder)
    for pairs, options, message in (
        ([], {}, "no pairs"),
        (_pairs(), dict(batch_size=0), "batch_size must be at least 1"),
        (_pairs(), dict(start_step=-1), "start_step must be at least 0"),
        (_pairs(), dict(fields=["past"]), "fields must be some of"),
        (_pairs(), dict(fields=[]), "fields must be some of"),
    ):
        with pytest.raises(ValueError, match=message):
            _batches(pairs, loader, 1, **options)
    for name in ("flip", "brightness", "contrast", "saturation"):
        with pytest.raises(ValueError, match=f"{name} must lie in"):
            Augmentation(**{name: 1.5})


# Augmentation alone.


def _params(**changed):
    names = ("top", "left", "flip", "brightness", "contrast", "saturation")
    return augment_lib.AugmentationParams(**(dict.fromkeys(names, 0.5) | changed))


def test_draws_are_uniform_and_depend_on_both_numbers():
    sampled = [
        augment_lib.params_at(seed, k) for seed in (0, 1, -1) for k in range(400)
    ]
    values = np.array([[*vars(params).values()] for params in sampled])
    assert len(np.unique(values)) == values.size
    assert values.min() >= 0 and values.max() < 1
    np.testing.assert_allclose(values.mean(axis=0), 0.5, atol=0.04)
    assert np.abs(np.corrcoef(values.T) - np.eye(6)).max() < 0.12
    assert augment_lib.params_at(7, 9) == augment_lib.params_at(7, 9)


def test_the_crop_reaches_every_place_and_lies_alike_in_all_sizes():
    only_crop = Augmentation(flip=0)
    places = np.arange(13)[:, None] * 100 + np.arange(9)[None]  # row and column
    clip = np.zeros((2, 13, 9, 3), np.uint8)
    clip[..., 0], clip[..., 1] = places // 100, places % 100
    seen = set()
    for top in np.linspace(0, 1, 50, endpoint=False):
        for left in np.linspace(0, 1, 50, endpoint=False):
            cut = augment_lib.augment(clip, 8, only_crop, _params(top=top, left=left))
            assert cut.shape == (2, 8, 8, 3)
            seen.add((int(cut[0, 0, 0, 0]), int(cut[1, 0, 0, 1])))
    assert seen == {(row, column) for row in range(6) for column in range(2)}


def test_colors_follow_the_formula_written_as_loops():
    rng = np.random.default_rng(0)
    clip = rng.integers(90, 160, (3, 6, 6, 3), dtype=np.uint8)
    augmentation = Augmentation(
        crop=False, flip=0, brightness=0.1, contrast=0.3, saturation=0.4
    )
    params = _params(brightness=0.9, contrast=0.1, saturation=0.7)
    found = augment_lib.augment(clip, 6, augmentation, params)
    added, contrast, saturation = 0.1 * 0.8, 1 - 0.3 * 0.8, 1 + 0.4 * 0.4
    weights = (0.299, 0.587, 0.114)
    saturated = np.zeros(clip.shape)
    for place in np.ndindex(clip.shape[:3]):
        gray = sum(w * c for w, c in zip(weights, clip[place] / 255, strict=True))
        saturated[place] = gray + saturation * (clip[place] / 255 - gray)
    mean_gray = (saturated @ weights).mean()
    expected = mean_gray + contrast * (saturated - mean_gray) + added
    # OpenCV rounds 8-bit colors once to fixed point, once to a whole number.
    np.testing.assert_allclose(found / 255, expected, atol=0.75 / 255)


def test_colors_that_leave_the_range_are_clipped():
    clip = np.array([0, 128, 255], np.uint8).reshape(1, 1, 1, 3).repeat(4, axis=1)
    clip = clip.repeat(4, axis=2)
    bright = Augmentation(crop=False, flip=0, brightness=1)
    found = augment_lib.augment(clip, 4, bright, _params(brightness=0.75))
    assert found[0, 0, 0].tolist() == [128, 255, 255]  # 127.5 is added


def test_without_a_change_the_pixels_are_the_same_and_the_cache_is_untouched():
    clip = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    clip.setflags(write=False)
    before = clip.copy()
    found = augment_lib.augment(clip, 8, _AS_IT_IS, _params())
    np.testing.assert_array_equal(found, clip)
    augment_lib.augment(clip, 8, _COLORED, _params(flip=0.1, saturation=0.9))
    np.testing.assert_array_equal(clip, before)
