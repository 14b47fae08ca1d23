"""A parser that knows nothing but the key names of MediaSequence reads clips."""

import dataclasses

import cv2
import numpy as np
import pytest
import tensorflow as tf

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.records import clips as clip_records
from kd_keras.data.records import media_sequence, shard_writer
from kd_keras.data.segments import TRAIN, Clip
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video

_FORMAT = ClipFormat(num_frames=9, image_size=48, fit="stretch", resize_ratio=1)
_CLIP = Clip("a", 0.5, 1.5)
_PADDED = Clip("a", -0.5, 0.4)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    path = numbered_video.write(folder / "a.mp4", 40, frame_rate=20, g="10")
    videos = {"a": Video("a", path, TRAIN)}
    recorder = clip_records.ClipRecorder(
        videos,
        {"a": reading.probe(videos["a"])},
        _FORMAT,
        jpeg_quality=90,
        labels={clip_records.clip_key(_CLIP): (3, "open")},
    )
    shard_writer.write_shards(
        folder / "records",
        clip_records.clip_shards([_CLIP, _PADDED]),
        recorder,
        kind="clips",
        fingerprint=clip_records.format_values(_FORMAT),
        rerun_command="",
        expected_bytes=1,
        progress=False,
    )
    return videos, sorted(folder.glob("records/*.tfrecord"))


# From the documentation of MediaSequence, not from our names.
_CONTEXT = {
    "clip/data_path": tf.io.FixedLenFeature([], tf.string),
    "clip/start/timestamp": tf.io.FixedLenFeature([], tf.int64),
    "clip/end/timestamp": tf.io.FixedLenFeature([], tf.int64),
    "clip/label/index": tf.io.VarLenFeature(tf.int64),
    "clip/label/string": tf.io.VarLenFeature(tf.string),
    "image/format": tf.io.FixedLenFeature([], tf.string),
    "image/channels": tf.io.FixedLenFeature([], tf.int64),
    "image/height": tf.io.FixedLenFeature([], tf.int64),
    "image/width": tf.io.FixedLenFeature([], tf.int64),
}
_LISTS = {
    "image/encoded": tf.io.FixedLenSequenceFeature([], tf.string),
    "image/timestamp": tf.io.FixedLenSequenceFeature([], tf.int64),
}


def test_an_independent_parser_reads_the_clips(prepared):
    _, paths = prepared
    examples = [
        tf.io.parse_single_sequence_example(record, _CONTEXT, _LISTS)
        for record in tf.data.TFRecordDataset(paths)
    ]
    padded, whole = examples
    context, lists = whole
    assert context["clip/data_path"] == b"a"
    assert context["image/format"] == b"JPEG"
    assert context["image/channels"] == 3
    assert (context["image/height"], context["image/width"]) == (48, 48)
    assert context["clip/start/timestamp"] == 500_000
    assert context["clip/end/timestamp"] == 1_500_000
    assert context["clip/label/index"].values.numpy().tolist() == [3]
    assert context["clip/label/string"].values.numpy().tolist() == [b"open"]
    frames = np.stack([tf.io.decode_jpeg(image) for image in lists["image/encoded"]])
    numbers = numbered_video.numbers(frames)
    # Nine parts of the frames 10 to 29.
    assert numbers == [int(10 + (k + 0.5) * 20 / 9) for k in range(9)]
    times = lists["image/timestamp"].numpy()
    np.testing.assert_array_equal(times, [n * 50_000 for n in numbers])
    context, lists = padded
    assert context["clip/start/timestamp"] == -500_000
    assert context["clip/label/index"].values.shape == 0
    # What repeats is stored once.
    assert numbered_video.numbers(
        np.stack([tf.io.decode_jpeg(image) for image in lists["image/encoded"]])
    ) == [0, 1, 3, 5, 7]


def test_clips_come_back_as_decoded_from_the_video(prepared):
    videos, paths = prepared
    from kd_keras.data.records.shards import Shards

    loader = clip_records.RecordLoader(Shards(paths[0].parent), _FORMAT)
    for clip in (_CLIP, _PADDED):
        expected = ClipLoader(videos, _FORMAT).load(clip)
        found = loader.load(clip)
        assert found.shape == expected.shape and found.dtype == np.uint8
        assert np.abs(found.astype(int) - expected).mean() < 2


def test_flow_is_read_as_others_store_it(tmp_path):
    """Three channels of which the last is empty; u and v come back to the level."""
    clip_format = dataclasses.replace(_FORMAT, modality="flow", flow_method="dis")
    path = numbered_video.write(tmp_path / "a.mp4", 40, frame_rate=20)
    one = Video("a", path, TRAIN)
    still = Clip("a", -1.0, 0.0)
    records = shard_writer.write_shards(
        tmp_path / "records",
        clip_records.clip_shards([_CLIP, _PADDED, still]),
        clip_records.ClipRecorder({"a": one}, {"a": reading.probe(one)}, clip_format),
        kind="clips",
        fingerprint=clip_records.format_values(clip_format),
        rerun_command="",
        expected_bytes=1,
        progress=False,
    )
    loader = clip_records.RecordLoader(records, clip_format)
    videos = ClipLoader({"a": one}, clip_format)
    for clip in (_CLIP, _PADDED, still):
        np.testing.assert_array_equal(loader.load(clip), videos.load(clip))
    assert (loader.load(still) == 127).all() and loader.load(_CLIP).std() > 5
    prefix = "FORWARD_FLOW/image"
    context, lists = tf.io.parse_single_sequence_example(
        records.read(clip_records.clip_key(_CLIP)),
        {
            f"{prefix}/format": tf.io.FixedLenFeature([], tf.string),
            f"{prefix}/height": tf.io.FixedLenFeature([], tf.int64),
        },
        {
            f"{prefix}/encoded": tf.io.FixedLenSequenceFeature([], tf.string),
            f"{prefix}/timestamp": tf.io.FixedLenSequenceFeature([], tf.int64),
        },
    )
    assert (context[f"{prefix}/format"], context[f"{prefix}/height"]) == (b"PNG", 48)
    # Their readers call it by this name; it decodes PNG too.
    images = [tf.io.decode_jpeg(i, channels=3) for i in lists[f"{prefix}/encoded"]]
    np.testing.assert_array_equal(np.stack(images)[..., :2], videos.load(_CLIP))
    assert not np.stack(images)[..., 2].any()
    # The frame on screen in the middle of each part, to which its flow leads.
    expected = [int(10 + (k + 0.5) * 20 / 9) * 50_000 for k in range(9)]
    assert lists[f"{prefix}/timestamp"].numpy().tolist() == expected


def test_the_same_arguments_give_the_same_bytes():
    def encode():
        images = media_sequence.Images(
            [b"1", b"2"], [0.0, 0.5], height=2, width=3, frame_index=[0, 0, 1]
        )
        flow = media_sequence.Images([b"3"], [0.0], 2, 3, channels=2, format="PNG")
        return media_sequence.encode_clip(
            "id", "a/b.mp4", 0.0, 1.0, images, 1, "öffnen", flow
        )

    assert encode() == encode()
    images = media_sequence.parse_images(encode())
    assert images.encoded == [b"1", b"2"] and images.frame_index == [0, 0, 1]
    flow = media_sequence.parse_images(encode(), "FORWARD_FLOW")
    assert (flow.encoded, flow.channels, flow.format) == ([b"3"], 2, "PNG")
    with pytest.raises(ValueError, match="no DEPTH/image/encoded; it has"):
        media_sequence.parse_images(encode(), "DEPTH")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_features_come_back(dtype):
    array = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(dtype)
    record = media_sequence.encode_features("id", {"A": array, "B": array[0, 0, 0]})
    second, first = media_sequence.parse_features(record, ["B", "A"])
    np.testing.assert_array_equal(first, array)
    np.testing.assert_array_equal(second, array[0, 0, 0])
    assert first.dtype == dtype
    with pytest.raises(ValueError, match="no C/feature/bytes"):
        media_sequence.parse_features(record, ["C"])


def test_long_runs_are_cut_at_key_frames():
    key_frames = np.arange(0, 2000, 100)
    runs = list(clip_records._runs(np.arange(50, 1000, 2), key_frames))
    np.testing.assert_array_equal(np.concatenate(runs), np.arange(50, 1000, 2))
    assert [run[0] for run in runs] == [50, 600]
    runs = list(clip_records._runs(np.arange(3000), np.array([0])))
    assert [len(run) for run in runs] == [1024, 1024, 952]


def test_jpegs_are_rgb_in_any_reader():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    image = clip_records.encode_jpeg(red, 100)
    other = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    assert other[8, 8, 2] > 250 > 5 > other[8, 8, 0]
    decoded = np.empty_like(red)
    clip_records.decode_jpeg(image, decoded)
    assert decoded[8, 8, 0] > 250 > 5 > decoded[8, 8, 2]


@pytest.mark.parametrize("side", [8, 32])
def test_a_frame_of_another_size_than_its_record_says_is_refused(side):
    image = clip_records.encode_jpeg(np.zeros((16, 16, 3), np.uint8), 95)
    with pytest.raises(ValueError):
        clip_records.decode_jpeg(image, np.empty((side, side, 3), np.uint8))
