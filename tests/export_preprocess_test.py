import cv2
import numpy as np
import pytest
import tensorflow as tf

from export import preprocess
from kd_keras.data.batches.from_clips import evaluation_batches
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.segments import TEST, Clip, Pair
from kd_keras.data.video import reading
from kd_keras.data.video.flow import EPIC_FLOW, I3D_FLOW
from kd_keras.data.video.info import Video


def smooth_frames(batch, time, height, width, channels=3, seed=0):
    """uint8 frames without steps, on which resizers that agree agree closely."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (batch * time, 6, 8, channels)).astype(np.float32)
    fine = [
        cv2.resize(f, (width, height), interpolation=cv2.INTER_CUBIC) for f in coarse
    ]
    fine = np.clip(np.stack(fine), 0, 255).astype(np.uint8)
    return fine.reshape(batch, time, height, width, channels)


def in_graph(frames, clip_format):
    channels = frames.shape[-1]
    unknown = tf.TensorSpec((None, None, None, None, channels), tf.uint8)
    prepare = tf.function(
        lambda frames: preprocess.prepare_frames(frames, clip_format),
        input_signature=[unknown],
        autograph=False,
    )
    return prepare(tf.constant(frames)).numpy()


def as_evaluated(frames, num_frames, side, fit):
    """The rule of evaluation written again, frame by frame, with OpenCV."""
    batch, time, height, width, channels = frames.shape
    clips = np.empty((batch, num_frames, side, side, channels))
    larger = int(side * 8 / 7 + 0.5)
    if fit == "stretch":
        new_height = new_width = larger
    else:
        scale = larger / min(height, width)
        new_height, new_width = (int(s * scale + 0.5) for s in (height, width))
    shrinks = new_height <= height and new_width <= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    top, left = (new_height - side) // 2, (new_width - side) // 2
    for b in range(batch):
        for k in range(num_frames):
            frame = frames[b, int((k + 0.5) * time / num_frames)]
            frame = cv2.resize(frame, (new_width, new_height), interpolation=how)
            frame = frame.reshape(new_height, new_width, channels)
            clips[b, k] = frame[top : top + side, left : left + side]
    return clips / 127.5 - 1


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize(
    "time, height, width, channels",
    [
        (16, 48, 64, 3),  # shrinks
        (37, 120, 90, 3),  # upright, many frames
        (5, 20, 23, 3),  # grows, few frames
        (8, 97, 55, 1),
        (8, 64, 48, 2),
    ],
)
def test_equals_the_rule_written_with_opencv(fit, time, height, width, channels):
    frames = smooth_frames(2, time, height, width, channels)
    actual = in_graph(frames, ClipFormat(8, 28, fit))
    expected = as_evaluated(frames, 8, 28, fit)
    levels = np.abs(actual - expected) * 127.5
    assert actual.shape == (2, 8, 28, 28, channels) and actual.dtype == np.float32
    assert levels.max() < 1.01 and levels.mean() < 0.2


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("side", [28, 45])
def test_frames_as_evaluation_decodes_them_give_its_clips(tmp_path, fit, side):
    file = tmp_path / "video.mp4"
    reading.write_video(file, smooth_frames(1, 20, 60, 79)[0], 10.0)
    clip = Clip("video", 0.0, 1.5)
    loader = ClipLoader(
        {"video": Video("video", file, TEST)}, ClipFormat(9, side, fit), cache="off"
    )
    batches = evaluation_batches(
        [Pair(clip, clip, 0)],
        loader,
        batch_size=1,
        fields=("observed",),
    )
    evaluated = next(iter(batches))["observed"]
    served = in_graph(loader.load(clip)[None], loader.clip_format)
    np.testing.assert_allclose(served, evaluated, atol=1e-6)


def test_squares_of_the_clips_size_are_taken_as_they_are():
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (2, 8, 28, 28, 3), dtype=np.uint8)
    expected = frames / 127.5 - 1
    np.testing.assert_allclose(in_graph(frames, ClipFormat(8, 28)), expected, atol=1e-6)


@pytest.mark.parametrize(
    "short_clip, expected",
    [
        ("resample", [0, 0, 0, 1, 1, 2, 2, 2]),
        ("loop", [0, 1, 2, 0, 1, 2, 0, 1]),
        ("pad_last", [0, 1, 2, 2, 2, 2, 2, 2]),
    ],
)
def test_few_frames_are_treated_as_in_training(short_clip, expected):
    frames = (
        np.zeros((1, 3, 4, 4, 1), np.uint8)
        + np.arange(3, dtype=np.uint8)[None, :, None, None, None]
    )
    clips = in_graph(frames, ClipFormat(8, 4, short_clip=short_clip))
    shown = np.rint((clips[0, :, 0, 0, 0] + 1) * 127.5)
    assert shown.tolist() == expected


def test_many_frames_are_spread_whatever_is_done_with_few():
    frames = (
        np.zeros((1, 20, 4, 4, 1), np.uint8)
        + np.arange(20, dtype=np.uint8)[None, :, None, None, None]
    )
    for short_clip in ("resample", "loop", "pad_last", "error"):
        clips = in_graph(frames, ClipFormat(8, 4, short_clip=short_clip))
        shown = np.rint((clips[0, :, 0, 0, 0] + 1) * 127.5)
        assert shown.tolist() == [1, 3, 6, 8, 11, 13, 16, 18]


def test_too_few_frames_are_an_error_where_they_were_in_training():
    with pytest.raises(tf.errors.InvalidArgumentError, match="time of 8 or more"):
        in_graph(
            np.zeros((1, 7, 4, 4, 3), np.uint8), ClipFormat(8, 4, short_clip="error")
        )


@pytest.mark.parametrize(
    "shape", [(0, 8, 4, 4, 3), (1, 0, 4, 4, 3), (1, 8, 0, 4, 3), (1, 8, 4, 0, 3)]
)
def test_no_frames_are_an_error(shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 or more"):
        in_graph(np.zeros(shape, np.uint8), ClipFormat(8, 4))


@pytest.mark.parametrize("encoding", [I3D_FLOW, EPIC_FLOW], ids=["i3d", "epic"])
def test_levels_of_flow_mean_in_the_graph_what_they_mean_in_training(encoding):
    clip_format = ClipFormat(8, 28, modality="flow", flow_encoding=encoding)
    levels = np.random.default_rng(0).integers(0, 256, (2, 8, 28, 28, 2), np.uint8)
    clips = preprocess.prepare_frames(tf.constant(levels), clip_format).numpy()
    np.testing.assert_allclose(clips, encoding.dequantize(levels), atol=1e-6)
