"""TV-L1 in TensorFlow is OpenCV's, for pairs of any size and number."""

import pathlib

import av
import cv2
import numpy as np
import pytest
import tensorflow as tf

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.records.clips import format_values
from kd_keras.data.video import flow as flow_lib
from kd_keras.data.video import tvl1_graph

_CRICKET = (
    pathlib.Path(__file__).parents[2] / "shared/data/i3d/v_CricketShot_g04_c01_rgb.gif"
)


def _scene(num_frames=3, height=52, width=45):
    """Gray frames of a texture that moves to the right and down."""
    random = np.random.default_rng(0)
    texture = random.integers(0, 256, (height + 9, width + 9), np.uint8)
    texture = cv2.normalize(
        cv2.GaussianBlur(texture, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX
    )
    return np.stack(
        [texture[9 - n :, 9 - 2 * n :][:height, :width] for n in range(num_frames)]
    )


def _end_point_px(flow, other):
    return np.linalg.norm(flow - other, axis=-1).mean()


def test_flow_is_opencvs_at_odd_sizes():
    frames = _scene()
    ours, theirs = (
        flow_lib.compute_flow(frames, method) for method in ("tvl1_graph", "tvl1")
    )
    assert ours.dtype == np.float32 and ours.shape == theirs.shape == (2, 52, 45, 2)
    assert _end_point_px(ours, theirs) < 0.02
    np.testing.assert_allclose(ours[0, 15:35, 15:35].mean((0, 1)), (2, 1), atol=0.1)


def test_one_step_is_opencvs_to_rounding(monkeypatch):
    """What is left of a difference is rounding that the iterations make grow."""
    monkeypatch.setattr(tvl1_graph, "NUM_WARPS", 2)
    monkeypatch.setattr(tvl1_graph, "OUTER_ITERATIONS", 1)
    before, after = _scene(2)
    opencv = cv2.optflow.DualTVL1OpticalFlow_create()
    opencv.setWarpingsNumber(2)
    opencv.setOuterIterations(1)
    flow = tf.function(tvl1_graph.tvl1_flow)(before[None], after[None])[0]
    np.testing.assert_allclose(flow, opencv.calc(before, after, None), atol=2e-3)


def test_a_pair_has_the_same_flow_in_every_batch(monkeypatch):
    frames = _scene(4)
    together = flow_lib.compute_flow(frames, "tvl1_graph")
    monkeypatch.setattr(tvl1_graph, "_PAIRS_AT_A_TIME", 2)
    np.testing.assert_array_equal(flow_lib.compute_flow(frames, "tvl1_graph"), together)
    for number, flow in enumerate(together):
        pair = frames[number : number + 2]
        alone = flow_lib.compute_flow(pair, "tvl1_graph")[0]
        np.testing.assert_array_equal(alone, flow)


def test_gray_is_opencvs():
    frames = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    expected = [flow_lib.as_gray(frame) for frame in frames]
    np.testing.assert_array_equal(tvl1_graph.as_gray(tf.constant(frames)), expected)


def test_the_median_network_sorts():
    random = np.random.default_rng(0)
    for count in (5, 25):
        values = random.integers(0, 30, (200, count))
        expected = np.sort(values, axis=1)
        for low, high in tvl1_graph._sorting_network(count):
            values[:, [low, high]] = np.sort(values[:, [low, high]], axis=1)
        np.testing.assert_array_equal(values, expected)


def test_readers_of_tf_data_may_compute_it_side_by_side():
    """They hold all of TensorFlow's threads while they wait."""
    frames = _scene(2, 20, 20)
    expected = flow_lib.compute_flow(frames, "tvl1_graph")

    def read(_):
        return flow_lib.compute_flow(frames, "tvl1_graph")

    dataset = tf.data.Dataset.range(12).map(
        lambda number: tf.numpy_function(read, [number], tf.float32), 12
    )
    for flow in dataset:
        np.testing.assert_array_equal(flow, expected)


def test_stored_clips_of_the_two_are_told_apart():
    first, second = (
        format_values(ClipFormat(modality="flow", flow_method=method))
        for method in ("tvl1", "tvl1_graph")
    )
    assert first != second


@pytest.mark.skipif(not _CRICKET.exists(), reason="the published sample is not here")
def test_flow_is_opencvs_on_the_cricket_clip():
    with av.open(str(_CRICKET)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    pair = np.stack(frames[60:62])
    ours, theirs = (
        flow_lib.compute_flow(pair, method) for method in ("tvl1_graph", "tvl1")
    )
    # Over all 78 pairs it is 0.02; nothing moves is 0.2 away.
    assert _end_point_px(ours, theirs) < 0.03
    assert _end_point_px(np.zeros_like(theirs), theirs) > 0.15
