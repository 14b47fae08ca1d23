"""The check of optical flow finds another zero level, bound, sign, and lost images."""

import cv2
import numpy as np
import pytest

from kd_keras.data.checks import flow as check_flow
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.segments import TRAIN, Index
from kd_keras.data.video import reading
from kd_keras.data.video.flow import I3D_FLOW, compute_flow
from kd_keras.data.video.info import Video

_FORMAT = ClipFormat(image_size=48, fit="stretch", resize_ratio=1, modality="flow")
_NUM_FRAMES = 8


@pytest.fixture(scope="module")
def frames():
    """A textured square that moves right and down over a background at rest."""
    draws = np.random.default_rng(0)
    background, square = (
        cv2.GaussianBlur(draws.integers(0, 256, (n, n, 3), np.uint8), (0, 0), 2)
        for n in (48, 20)
    )
    shown = np.repeat(background[None], _NUM_FRAMES, 0)
    for number, frame in enumerate(shown):
        place = 5 + 2 * number, 5 + number
        frame[place[1] : place[1] + 20, place[0] : place[0] + 20] = square
    return shown


def _check(folder, frames, levels=None):
    """The report of a video of these frames, with this stored flow."""
    flow_path = None
    for number, frame in enumerate(frames, 1):
        (folder / "rgb").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"rgb/{number:05d}.png"), frame[..., ::-1])
    if levels is not None:
        flow_path = folder / "flow"
        for channel, name in enumerate("uv"):
            (flow_path / name).mkdir(parents=True)
            for number, level in enumerate(levels[..., channel], 1):
                cv2.imwrite(str(flow_path / name / f"{number:05d}.png"), level)
    one = Video("one", folder / "rgb", TRAIN, 25.0, flow_path)
    info = reading.probe(one)
    times = {"one": info.duration_s}
    index = Index((), {"one": one}, times, (), {}, {"one": info})
    return check_flow.check_flow(index, _FORMAT)


def _levels(frames):
    # The format scales what it computes to a picture 256 high; stored flow is as it is.
    return I3D_FLOW.quantize(compute_flow(frames, "dis") * 5)


def test_flow_of_the_frames_has_no_problems(frames, tmp_path):
    report = _check(tmp_path, frames, _levels(frames))
    assert report.problems() == []
    assert (report.num_stored, report.num_pictures) == (1, _NUM_FRAMES - 1)
    assert report.zero_level == 127 and report.highest > 150
    assert min(report.agreement) > 0.9


def test_computed_flow_is_looked_at_too(frames, tmp_path):
    report = _check(tmp_path, frames)
    assert report.problems() == [] and report.num_stored == 0
    assert min(report.agreement) > 0.5


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: x - np.uint8(30), "of level 97, and no motion is level 127"),
        (lambda x: 254 - x, "u of the flow runs against the frames"),
        (lambda x: np.full_like(x, 127), "nothing moves anywhere"),
        (lambda x: np.where(x > 130, 255, x), "% of the flow is cut off"),
    ],
    ids=["zero", "sign", "still", "range"],
)
def test_other_flow_has(frames, tmp_path, change, message):
    report = _check(tmp_path, frames, change(_levels(frames)).astype(np.uint8))
    assert message in "\n".join(report.problems())


def test_flow_that_lacks_images_is_named(frames, tmp_path):
    report = _check(tmp_path, frames, _levels(frames)[:3])
    assert report.num_pictures == 0
    assert "the flow of one cannot be read: " in report.problems()[0]
    assert "holds 3 flow images" in report.problems()[0]
