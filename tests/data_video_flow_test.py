"""Flow is OpenCV's, its levels are I3D's and EPIC-KITCHENS', and mirrors turn u."""

import itertools
import pathlib

import av
import cv2
import numpy as np
import pytest

from kd_keras.data.video import flow as flow_lib
from kd_keras.data.video.flow import EPIC_FLOW, I3D_FLOW, FlowEncoding

_I3D = pathlib.Path(__file__).parents[2] / "shared" / "data" / "i3d"


def moving_square(num_frames=4, side=48, step_px=2):
    """RGB frames of a textured square that goes right and down."""
    texture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    texture = cv2.resize(cv2.GaussianBlur(texture, (5, 5), 0), (20, 20))
    frames = np.full((num_frames, side, side, 3), 90, np.uint8)
    for number, frame in enumerate(frames):
        top, left = 6 + number, 6 + step_px * number
        frame[top : top + 20, left : left + 20] = texture
    return frames


def test_tvl1_is_opencvs_with_its_defaults_on_grey_frames():
    frames = moving_square()
    flow = flow_lib.compute_flow(frames)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    tvl1 = cv2.optflow.createOptFlow_DualTVL1()
    expected = [tvl1.calc(a, b, None) for a, b in itertools.pairwise(gray)]
    assert flow.dtype == np.float32 and flow.shape == (3, 48, 48, 2)
    np.testing.assert_array_equal(flow, expected)
    np.testing.assert_array_equal(flow_lib.compute_flow(np.stack(gray)), expected)
    # u is to the right, v downwards.
    np.testing.assert_allclose(flow[0, 12:20, 12:20].mean((0, 1)), (2, 1), atol=0.2)


def test_dis_is_opencvs():
    frames = moving_square()
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    expected = [dis.calc(a, b, None) for a, b in itertools.pairwise(gray)]
    flow = flow_lib.compute_flow(frames, method="dis")
    np.testing.assert_array_equal(flow, expected)
    np.testing.assert_allclose(flow[0, 12:20, 12:20].mean((0, 1)), (2, 1), atol=0.5)


@pytest.mark.parametrize("method", flow_lib.FLOW_METHODS)
@pytest.mark.parametrize("size", [(16, 16), (18, 40)])
def test_the_smallest_pictures_have_flow(method, size):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    flow = flow_lib.compute_flow(frames, method)
    assert flow.shape == (1, *size, 2) and np.isfinite(flow).all()
    still = flow_lib.compute_flow(np.repeat(frames[:1], 2, axis=0), method)
    assert set(I3D_FLOW.quantize(still).ravel()) == {127}


@pytest.mark.parametrize("method", flow_lib.FLOW_METHODS)
def test_a_picture_has_the_same_flow_whatever_came_before_it(method):
    frames = moving_square(2, side=64, step_px=6)
    alone = flow_lib.compute_flow(frames, method)
    flow_lib.compute_flow(frames[:, :16, :16], method)
    np.testing.assert_array_equal(flow_lib.compute_flow(frames, method), alone)


@pytest.mark.parametrize(
    ("frames", "method", "message"),
    [
        (np.zeros((1, 32, 32, 3), np.uint8), "tvl1", "at least 2 frames. Got 1"),
        (np.zeros((2, 32, 32, 3), np.float32), "tvl1", "uint8 frames, .* Got float32"),
        (np.zeros((2, 32, 32, 2), np.uint8), "tvl1", r"Got uint8 \(2, 32, 32, 2\)"),
        (np.zeros((2, 32, 32), np.uint8), "farneback", "method must be one of"),
    ],
)
def test_what_is_not_a_clip_is_refused(frames, method, message):
    with pytest.raises(ValueError, match=message):
        flow_lib.compute_flow(frames, method)


def test_tvl1_says_which_opencv_it_needs(monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(ValueError, match="opencv-contrib-python-headless"):
        flow_lib.compute_flow(np.zeros((2, 32, 32), np.uint8))


# Levels.


def _motions():
    random = np.random.default_rng(1)
    edges = [-1e9, -20.001, -20, -19.9, -0.1, 0, 0.1, 19.9, 20, 20.001, 1e9]
    return np.concatenate([random.normal(0, 8, 5000), edges]).astype(np.float32)


def test_levels_are_those_of_the_published_recipe():
    flow = _motions()
    cut = np.clip(flow, -20, 20)
    expected = ((cut + 20) / 40 * 255).astype(np.uint8)
    levels = I3D_FLOW.quantize(flow)
    np.testing.assert_array_equal(levels, expected)
    back = I3D_FLOW.dequantize(levels)
    np.testing.assert_allclose(back, (levels / 255 - 0.5) * 40 / 20, atol=1e-6)
    assert back.dtype == np.float32 and np.abs(back).max() <= 1
    assert np.abs(back - cut / 20).max() < 2 / 255 + 1e-6


def test_no_motion_is_what_the_weights_saw():
    assert I3D_FLOW.quantize(np.zeros(1)) == I3D_FLOW.zero_level == 127
    assert I3D_FLOW.dequantize(np.uint8(127)) == pytest.approx(-0.0039, abs=5e-5)


def test_released_epic_flow_is_read_as_its_bound_says():
    levels = np.arange(256, dtype=np.uint8)
    expected = np.clip(levels / 255 * 50 - 25, -20, 20) / 20
    np.testing.assert_allclose(EPIC_FLOW.dequantize(levels), expected, atol=1e-6)
    assert (EPIC_FLOW.stride, EPIC_FLOW.dilation) == (2, 3)
    np.testing.assert_array_equal(EPIC_FLOW.quantize(levels / 255 * 50 - 25), levels)
    assert EPIC_FLOW.quantize(np.zeros(1)) == EPIC_FLOW.zero_level == 128


@pytest.mark.parametrize("encoding", [I3D_FLOW, EPIC_FLOW], ids=["i3d", "epic"])
def test_a_mirrored_level_is_the_level_of_the_turned_motion(encoding):
    flow = np.concatenate([_motions(), np.linspace(-40, 40, 4001)])
    # Motion that lies on the border of two levels may fall to either side.
    exact = (flow + encoding.bound_px) / (2 * encoding.bound_px) * 255
    inside = np.abs(exact - np.round(2 * exact) / 2) > 1e-3
    inside |= np.abs(flow) >= encoding.bound_px
    # Nearly -bound: its mirror image would need a level beyond the highest.
    inside &= ~((np.abs(exact) < 1) & (flow > -encoding.bound_px))
    flow = flow[inside | (flow == 0)]
    turned = encoding.mirrored()[encoding.quantize(flow)].astype(int)
    expected = encoding.quantize(-flow).astype(int)
    off = np.abs(turned - expected)
    assert (off <= (0 if encoding.rounds_down else 1)).all()
    assert encoding.mirrored()[encoding.zero_level] == encoding.zero_level
    assert (off[flow == 0] == 0).all()


@pytest.mark.parametrize("arguments", [{"bound_px": 0}, {"stride": 0}, {"dilation": 0}])
def test_encodings_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match="must be positive"):
        FlowEncoding(**arguments)


# The published sample.


@pytest.mark.skipif(not _I3D.exists(), reason="the published sample is not here")
def test_tvl1_agrees_with_the_published_flow_of_the_cricket_clip():
    frames, published = (
        _gif(_I3D / f"v_CricketShot_g04_c01_{kind}.gif") for kind in ("rgb", "flow")
    )
    assert frames.shape == published.shape == (79, 224, 224, 3)
    errors, still, shifted = [], [], []
    for number in (20, 60):
        flow = flow_lib.compute_flow(frames[number : number + 2])
        levels = I3D_FLOW.quantize(flow)[0].astype(float)
        target = published[number, ..., :2].astype(float)
        errors.append(_end_point_px(levels, target))
        still.append(_end_point_px(np.full_like(levels, 127), target))
        later = published[number + 1, ..., :2].astype(float)
        shifted.append(_end_point_px(levels, later))
    # Over every third flow: TV-L1 0.403, DIS 0.498, no motion 0.541. Both pictures
    # have 256 colors only, which alone costs 0.248.
    assert np.mean(errors) < 0.42 < 0.5 < np.mean(still)
    # Flow k is the one from frame k to the next.
    assert np.mean(errors) < np.mean(shifted)


def _end_point_px(levels, target):
    return np.linalg.norm((levels - target) * 40 / 255, axis=-1).mean()


def _gif(path):
    with av.open(str(path)) as container:
        return np.stack(
            [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        )
