"""The graph that a tf.data service runs: order, crops, colors, and the service."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

from kd_keras.data.batches import from_records
from kd_keras.data.batches.fields import FUTURE, INDEX, LABEL, LABELED, OBSERVED
from kd_keras.data.batches.from_clips import evaluation_batches
from kd_keras.data.batches.stream import Stream
from kd_keras.data.clips import augment
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.records import clips as clip_records
from kd_keras.data.records import shard_writer
from kd_keras.data.records.shards import Shards
from kd_keras.data.segments import TRAIN, Clip, Pair
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import loopback_data_service, numbered_video

_FORMAT = ClipFormat(num_frames=4, image_size=28)
_PAIRS = [
    Pair(
        Clip("ab"[k % 2], k / 20, (k + 4) / 20),
        Clip("ab"[k % 2], (k + 20) / 20, (k + 24) / 20),
        None if k % 3 == 0 else k,
    )
    for k in range(7)
]


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    videos = {}
    for name, size in (("a", (48, 64)), ("b", (64, 48))):
        path = numbered_video.write(
            folder / f"{name}.mp4", 60, frame_rate=20, size=size
        )
        videos[name] = Video(name, path, TRAIN)
    infos = {name: reading.probe(one) for name, one in videos.items()}
    clips = [clip for pair in _PAIRS for clip in (pair.observed, pair.future)]
    records = shard_writer.write_shards(
        folder / "records",
        clip_records.clip_shards(clips, 5),
        clip_records.ClipRecorder(videos, infos, _FORMAT, 100),
        kind="clips",
        fingerprint=clip_records.format_values(_FORMAT),
        rerun_command="",
        expected_bytes=1,
        progress=False,
    )
    return clip_records.RecordLoader(records, _FORMAT)


def _batches(loader, num, **options):
    of_stream = {"batch_size": 3, "seed": 5}
    for name in ("batch_size", "seed", "start_step", "views"):
        if name in options:
            of_stream[name] = options.pop(name)
    stream = Stream(_PAIRS, **of_stream)
    batches = from_records.training_batches(stream, loader, **options)
    return list(batches.take(num).as_numpy_iterator())


def test_each_pass_visits_each_pair_once_in_another_order(loader):
    batches = _batches(loader, 14)
    order = np.concatenate([batch[INDEX] for batch in batches]).reshape(-1, 7)
    for visited in order:
        assert sorted(visited) == [*range(7)]
    assert len({tuple(visited) for visited in order}) > 1
    for batch in batches:
        assert batch[LABELED].tolist() == [k % 3 != 0 for k in batch[INDEX]]
        expected = [k if k % 3 else 0 for k in batch[INDEX]]
        assert batch[LABEL].tolist() == expected


def test_a_later_start_continues_the_stream(loader):
    colored = Augmentation(brightness=0.3, contrast=0.3, saturation=0.3)
    whole = _batches(loader, 6, augmentation=colored)
    later = _batches(loader, 3, augmentation=colored, start_step=3)
    for one, other in zip(whole[3:], later, strict=True):
        for field in one:
            np.testing.assert_array_equal(one[field], other[field])


def test_clips_are_changed_as_on_one_machine(loader, monkeypatch):
    """Each set of parameters is tried by `augment.augment` on the decoded clip."""
    changes = Augmentation(flip=0.5, brightness=0.2, contrast=0.3, saturation=0.4)
    draws = np.random.default_rng(0).random((3, 6)).astype(np.float32)
    for clip, params in zip(
        (_PAIRS[0].observed, _PAIRS[1].observed, _PAIRS[2].future), draws, strict=True
    ):
        record = loader.records.read(clip_records.clip_key(clip))
        found = from_records._clip(record, params, changes, _FORMAT).numpy()
        expected = augment.augment(
            loader.load(clip), 28, changes, augment.AugmentationParams(*params.tolist())
        )
        # Two decoders of JPEG, which differ at edges, and two roundings.
        gaps = np.abs(found.astype(int) - expected)
        assert gaps.mean() < 1 and gaps.max() <= 16


def test_flow_is_changed_as_on_one_machine(tmp_path):
    clip_format = dataclasses.replace(_FORMAT, modality="flow", flow_method="dis")
    path = numbered_video.write(tmp_path / "a.mp4", 20, frame_rate=20, size=(48, 64))
    one, clip = Video("a", path, TRAIN), Clip("a", 0.2, 0.6)
    records = shard_writer.write_shards(
        tmp_path / "records",
        clip_records.clip_shards([clip]),
        clip_records.ClipRecorder({"a": one}, {"a": reading.probe(one)}, clip_format),
        kind="clips",
        fingerprint=clip_records.format_values(clip_format),
        rerun_command="",
        expected_bytes=1,
        progress=False,
    )
    loader = clip_records.RecordLoader(records, clip_format)
    record, changes = records.read(clip_records.clip_key(clip)), Augmentation()
    for flip in (0.2, 0.8):
        params = np.array([0.3, 0.9, flip, 0.5, 0.5, 0.5], np.float32)
        found = from_records._clip(record, params, changes, clip_format).numpy()
        expected = augment.augment(
            loader.load(clip), 28, changes, augment.AugmentationParams(*params.tolist())
        )
        np.testing.assert_array_equal(found, expected)
    pairs = [Pair(clip, clip, 0)]
    batches = from_records.training_batches(Stream(pairs, 2), loader)
    assert next(iter(batches))[OBSERVED].shape == (2, 4, 28, 28, 2)


def test_views_repeat_and_draws_are_shared(loader):
    batches = _batches(loader, 7 * 4, batch_size=1, views=2)
    seen = {}
    for batch in batches:
        seen.setdefault(int(batch[INDEX][0]), []).append(batch[OBSERVED])
    for first, second, third, fourth in seen.values():
        np.testing.assert_array_equal(first, third)
        np.testing.assert_array_equal(second, fourth)
    assert any(not np.array_equal(shown[0], shown[1]) for shown in seen.values())


def test_a_service_of_two_workers_gives_the_same_batches(loader):
    expected = _batches(loader, 12, fields=(FUTURE,))
    with loopback_data_service.service(2) as address:
        found = _batches(loader, 12, fields=(FUTURE,), data_service=address)
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for field in one:
            np.testing.assert_array_equal(one[field], other[field])


def test_batches_of_a_service_are_put_in_order():
    made = []

    def make(step):
        made.append(step)
        return {"step": step, "from": "here"}

    # The fourth never comes, the sixth when it was made here already.
    numbers = [5, 3, 7, 8, *range(9, 60), 6]
    batches = [{"step": number, "from": "service"} for number in numbers]
    found = list(from_records._in_order(batches, 3, make))
    assert [batch["step"] for batch in found] == [*range(3, 60)]
    assert made == [4, 6]
    assert [batch["step"] for batch in found if batch["from"] == "here"] == made


def test_workers_read_their_rows_alone(loader):
    whole = _batches(loader, 3, batch_size=4)
    for worker in range(2):
        rows = _batches(loader, 3, batch_size=4, shard=(worker, 2))
        for one, other in zip(whole, rows, strict=True):
            for field in one:
                np.testing.assert_array_equal(
                    one[field][2 * worker :][:2], other[field]
                )


def test_a_corrupt_shard_is_named_where_batches_are_made(loader, tmp_path):
    folder = shutil.copytree(loader.records.folder, tmp_path / "records")
    path = folder / "clips-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    copied = clip_records.RecordLoader(Shards(folder), _FORMAT)
    with pytest.raises(tf.errors.OpError, match=r"CorruptShard: .*00001-of-00003"):
        list(evaluation_batches(_PAIRS, copied, batch_size=7))
