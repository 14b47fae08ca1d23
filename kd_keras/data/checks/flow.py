"""Checks optical flow before training: its zero level, its range, and its signs."""

import concurrent.futures
import dataclasses
from collections.abc import Sequence

import numpy as np

from kd_keras.data.clips import frames as clip_frames
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.parallel import num_cores
from kd_keras.data.segments import Index
from kd_keras.data.video import flow as flow_lib
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from kd_keras.data.video.stored_flow import probe_flow

# Videos that are looked into, and flows of all of them: computing flow takes its time.
_NUM_LOOKED_INTO = 20
_NUM_LOOKS = 100
# Levels by which the commonest one may miss the zero level.
_ZERO_TOLERANCE = 1
# Levels that anything moves by where something does.
_MOTION = 2.0
# Where more is cut off, the levels stand for less than they should.
_MOST_CUT_OFF = 0.1
# Correlation of a channel with what the frames say, below which its sign is wrong. Two
# methods agree to 0.3 only where pictures are poor.
_LEAST_AGREEMENT = -0.1


@dataclasses.dataclass(frozen=True)
class FlowReport:
    """What the flow of a data set holds, where it was looked at.

    Attributes:
        num_stored: Videos that bring their flow; that of the others is computed.
        bad_flow: Reason by name of the videos whose flow cannot be read.
        num_pictures: Flows that were looked at.
        zero_level: The commonest level.
        expected_zero_level: What the format says.
        lowest, highest: The outermost levels.
        cut_off: Fraction of the pixels at levels 0 or 255.
        agreement: Median correlation of u, and of v, of the mirrored flow with flow
            that is computed from the mirrored frames; None where nothing moves.
    """

    num_stored: int
    bad_flow: dict[str, str]
    num_pictures: int = 0
    zero_level: int | None = None
    expected_zero_level: int | None = None
    lowest: int | None = None
    highest: int | None = None
    cut_off: float = 0.0
    agreement: tuple[float | None, float | None] = (None, None)

    def problems(self) -> list[str]:
        """A sentence for everything that is wrong."""
        found = [
            f"the flow of {name} cannot be read: {why}"
            for name, why in self.bad_flow.items()
        ]
        if not self.num_pictures:
            return found
        if abs(self.zero_level - self.expected_zero_level) > _ZERO_TOLERANCE:
            found.append(
                f"most flow is of level {self.zero_level}, and no motion is level "
                f"{self.expected_zero_level}: it may be kept in another way"
            )
        if self.highest - self.lowest < 2 * _MOTION:
            found.append(
                f"flow lies between levels {self.lowest} and {self.highest}: nothing "
                "moves anywhere"
            )
        if self.cut_off > _MOST_CUT_OFF:
            found.append(
                f"{100 * self.cut_off:.0f} % of the flow is cut off: its bound may be "
                "another"
            )
        found += [
            f"{channel} of the flow runs against the frames (correlation "
            f"{agreement:.2f}): its sign is the opposite"
            for channel, agreement in zip("uv", self.agreement, strict=True)
            if agreement is not None and agreement < _LEAST_AGREEMENT
        ]
        return found


def check_flow(index: Index, clip_format: ClipFormat) -> FlowReport:
    """Lists all stored flow, and looks at some of it and of what is computed.

    Each flow is mirrored as training mirrors it and compared with the flow of the
    mirrored frames, so that a sign that is wrong in either place shows.
    """
    stored = [v for v in index.videos.values() if v.flow_path is not None]
    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        reasons = pool.map(lambda video: _reason(video, index), stored)
        bad_flow = {v.name: r for v, r in zip(stored, reasons, strict=True) if r}
        readable = [v for v in index.videos.values() if v.name not in bad_flow]
        places = np.linspace(0, len(readable) - 1, min(len(readable), _NUM_LOOKED_INTO))
        chosen = [readable[int(place)] for place in places]
        count = _NUM_LOOKS // max(1, len(chosen))
        looks = pool.map(lambda v: _look(v, index, clip_format, count), chosen)
        looks = [look for looked in looks for look in looked]
    report = FlowReport(len(stored), bad_flow)
    if not looks:
        return report
    histogram = sum(counts for counts, _ in looks)
    seen = np.flatnonzero(histogram)
    return dataclasses.replace(
        report,
        num_pictures=len(looks),
        zero_level=int(histogram.argmax()),
        expected_zero_level=clip_format.flow_encoding.zero_level,
        lowest=int(seen[0]),
        highest=int(seen[-1]),
        cut_off=float((histogram[0] + histogram[255]) / histogram.sum()),
        agreement=tuple(_median([a[channel] for _, a in looks]) for channel in (0, 1)),
    )


def _reason(video: Video, index) -> str | None:
    """Why the stored flow of a video cannot be read."""
    try:
        probe_flow(video, index.infos.get(video.name) or reading.probe(video))
    except reading.BadVideo as error:
        return error.reason
    return None


def _look(video, index, clip_format, count) -> Sequence[tuple]:
    """The histogram of levels, and the agreement of u and v, at `count` places."""
    try:
        info = index.infos.get(video.name) or reading.probe(video)
        flow_info = None if video.flow_path is None else probe_flow(video, info)
        times_s = clip_frames.picture_times_s(info, clip_format, flow_info)
        if not len(times_s):
            return []
        places = np.unique(np.linspace(0, len(times_s) - 1, count).astype(int))
        pictures = clip_frames.read_pictures(
            video, info, places, clip_format, flow_info
        )
        expected = _of_mirrored_frames(video, info, times_s[places], pictures.shape)
    except reading.BadVideo:
        # The check of the videos themselves names it.
        return []
    encoding = clip_format.flow_encoding
    return [
        (
            np.bincount(levels.ravel(), minlength=256),
            _agreement(levels, flow, encoding),
        )
        for levels, flow in zip(pictures, expected, strict=True)
    ]


def _of_mirrored_frames(video, info, times_s, shape):
    """Flow, by the fast method, to the frames on screen at these times."""
    height, width = shape[1:3]
    afters = np.searchsorted(info.times_s, times_s + 1e-6, "right") - 1
    afters = np.clip(afters, 1, len(info.times_s) - 1)
    frames = reading.read_frames(
        video, info, np.concatenate([afters - 1, afters]), (width, height)
    )
    gray = [flow_lib.as_gray(np.ascontiguousarray(f[:, ::-1])) for f in frames]
    return flow_lib.flows_between(gray[: len(afters)], gray[len(afters) :], "dis")


def _agreement(levels, flow, encoding):
    mirrored = levels[:, ::-1].astype(np.float32)
    mirrored[..., 0] = encoding.mirrored()[levels[:, ::-1, 0]]
    return [
        float(np.corrcoef(mirrored[..., c].ravel(), flow[..., c].ravel())[0, 1])
        if mirrored[..., c].std() > _MOTION and flow[..., c].std() > 0
        else None
        for c in (0, 1)
    ]


def _median(values):
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
