"""Slides the observed clip over a video file: what a student expects, and when."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from export.student_file import ExportSpec
from kd_keras.data.clips.frames import clip_indices, read_pictures
from kd_keras.data.segments import TEST
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video, VideoInfo

TIME_ERROR_S = 1e-6
# Of a window: what a request may hold at most.
MOST_FRAMES = 1024


def probed(path: str) -> tuple[Video, VideoInfo]:
    """The video of a file, and what opening it tells.

    Raises:
        ValueError: If it cannot be read.
    """
    video = Video(os.path.basename(path), pathlib.Path(path), TEST)
    return video, reading.probe(video)


@dataclasses.dataclass(frozen=True)
class Anticipation:
    """What the student expects once it has seen the video up to `time_s`.

    Attributes:
        happens_s: When the anticipated action starts; None if that is not known.
        classes: Names, the likeliest first.
        probabilities: Of these classes.
    """

    time_s: float
    happens_s: float | None
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def first(self, count: int) -> "Anticipation":
        """The same with at most `count` classes."""
        return dataclasses.replace(
            self,
            classes=self.classes[:count],
            probabilities=self.probabilities[:count],
        )


def anticipations(
    student: Callable[[np.ndarray], np.ndarray],
    spec: ExportSpec,
    video: Video,
    info: VideoInfo,
    every_s: float,
    batch_size: int = 8,
) -> Iterator[Anticipation]:
    """Slides the observed clip over the video, `every_s` at a time.

    The first clip starts with the first frame. A video that is shorter than the clip
    gives one anticipation at its end, as if its first frame had been there before.

    Args:
        student: An `ExportedStudent`, or what else predicts as it does.
        batch_size: Clips that the student is given at a time.
    """
    begins_s = float(info.times_s[0])
    shown_s, observed_s = info.duration_s - begins_s, spec.observed_s
    spec = as_sent(spec, observed_s * info.frame_rate)
    count = int(max(shown_s - observed_s, 0) / every_s + TIME_ERROR_S) + 1
    first_s = begins_s + min(observed_s, shown_s)
    times_s = [first_s + i * every_s for i in range(count)]
    for several in _batched(times_s, batch_size):
        clips = _clips(spec, video, info, several)
        for time_s, probabilities in zip(several, student(clips), strict=True):
            yield ranked(spec, time_s, probabilities)


def ranked(
    spec: ExportSpec, time_s: float, probabilities: Sequence[float]
) -> Anticipation:
    """The anticipation of all classes that a student's probabilities mean."""
    order = np.argsort(-np.asarray(probabilities), kind="stable")
    return Anticipation(
        time_s,
        None if spec.lead_time_s is None else time_s + spec.lead_time_s,
        tuple(spec.classes[i] for i in order),
        tuple(float(probabilities[i]) for i in order),
    )


def as_sent(spec: ExportSpec, num_shown: float) -> ExportSpec:
    """The spec of the clips that a student is sent.

    Args:
        num_shown: How many frames there are in `observed_s`.
    """
    if not spec.every_frame:
        return spec
    # A window of a video with gaps has fewer.
    clip_format = dataclasses.replace(
        spec.clip_format,
        num_frames=min(max(round(num_shown), 2), MOST_FRAMES),
        short_clip="resample",
    )
    return dataclasses.replace(spec, clip_format=clip_format)


def _clips(spec, video, info, times_s):
    """The clips that end at these times, as evaluation reads them."""
    indices = np.stack(
        [
            clip_indices(
                video, info, time_s - spec.observed_s, time_s, spec.clip_format
            )
            for time_s in times_s
        ]
    )
    # Clips overlap; every picture is read once for all of them.
    needed, places = np.unique(indices, return_inverse=True)
    pictures = read_pictures(video, info, needed, spec.clip_format)
    return pictures[places.reshape(indices.shape)]


def _batched(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
