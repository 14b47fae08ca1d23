"""Anticipates what happens next, all along a video, with an exported student.

    python -m export.predict --model=MODELS/name --video=FILE --output=annotated.mp4

Prints a CSV: the time that the student has seen the video up to, the time it speaks
of, and the classes it ranks highest. The annotated video shows the same.
"""

import csv
import dataclasses
import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import numpy as np
from absl import flags

from export import command
from export.student_file import ExportSpec
from kd_keras import lettering
from kd_keras.data.clips.frames import read_clip
from kd_keras.data.segments import TEST
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video

FLAGS = flags.FLAGS

# The flags of paths.
_PATHS = ("model", "video", "output")

_BATCH = 8
_TIME_ERROR_S = 1e-6
_TEXT_COLOR, _BAR_COLOR = (255, 255, 255), (40, 110, 60)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the flags ask for; the fields have their names and meanings."""

    model: str
    video: str
    output: str | None = None
    top_k: int = 3
    every_s: float = 0.5
    observed_s: float | None = None
    lead_time_s: float | None = None


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


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string(
        "model",
        None,
        "Folder of an exported student (its newest version is used), or a version.",
    )
    flags.DEFINE_string("video", None, "Video file.")
    flags.DEFINE_string(
        "output", None, "Annotated video to write (.mp4); by default none."
    )
    flags.DEFINE_integer("top_k", 3, "Classes shown at each time.", lower_bound=1)
    flags.DEFINE_float(
        "every_s", 0.5, "Seconds from one anticipation to the next.", lower_bound=0.01
    )
    flags.DEFINE_float(
        "observed_s",
        None,
        "Seconds of video that the student sees; by default what it was trained with.",
        lower_bound=0.01,
    )
    flags.DEFINE_float(
        "lead_time_s",
        None,
        "Seconds from what is seen to the action; by default what it was trained with.",
        lower_bound=0.0,
    )
    command.check_paths(_PATHS)


def run(request: Request, table=sys.stdout) -> None:
    """Writes the CSV to `table` and the annotated video to its file.

    Raises:
        ValueError, OSError: If something given cannot be used.
    """
    # TensorFlow takes seconds to import, so flags are read first.
    from export.exported_student import ExportedStudent

    _require_output(request)
    video = Video(os.path.basename(request.video), pathlib.Path(request.video), TEST)
    info = reading.probe(video)
    student = ExportedStudent(request.model)
    spec = _with_times(student.spec, request)
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("time_s", "happens_s", "rank", "class", "probability"))
    found = []
    for item in anticipations(student, spec, video, info, request.every_s):
        found.append(_first(item, request.top_k))
        rows.writerows(_rows(found[-1]))
        table.flush()
    if request.output is not None:
        rate = info.frame_rate
        frames = _annotated(_frames_at(video, info, rate), found, rate)
        reading.write_video(request.output, frames, rate)
        print(f"Wrote {request.output}.", file=sys.stderr)


def anticipations(
    student: Callable[[np.ndarray], np.ndarray],
    spec: ExportSpec,
    video: Video,
    info: reading.VideoInfo,
    every_s: float,
) -> Iterator[Anticipation]:
    """Slides the observed clip over the video, `every_s` at a time.

    The first clip starts with the first frame. A video that is shorter than the clip
    gives one anticipation at its end, as if its first frame had been there before.

    Args:
        student: An `ExportedStudent`, or what else predicts as it does.
    """
    begins_s = float(info.times_s[0])
    shown_s, observed_s = info.duration_s - begins_s, spec.observed_s
    count = int(max(shown_s - observed_s, 0) / every_s + _TIME_ERROR_S) + 1
    first_s = begins_s + min(observed_s, shown_s)
    times_s = [first_s + i * every_s for i in range(count)]
    for several in _batched(times_s, _BATCH):
        clips = _clips(spec, video, info, several)
        for time_s, probabilities in zip(several, student(clips), strict=True):
            order = np.argsort(-probabilities, kind="stable")
            yield Anticipation(
                time_s,
                None if spec.lead_time_s is None else time_s + spec.lead_time_s,
                tuple(spec.classes[i] for i in order),
                tuple(float(probabilities[i]) for i in order),
            )


def main(_) -> int:
    request = command.request(Request, FLAGS, _PATHS)
    return command.status_of("predict", lambda: run(request))


def _require_output(request):
    if request.output is None:
        return
    output = pathlib.Path(request.output)
    if output.suffix != ".mp4":
        raise ValueError(f"--output must end in .mp4. Got {request.output}.")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output={output}: its folder does not exist.")
    if output.exists() and output.samefile(request.video):
        raise ValueError(f"--output={output} is the video itself.")


def _with_times(spec, request):
    """The spec with the times that the flags give instead."""
    times = {"observed_s": request.observed_s, "lead_time_s": request.lead_time_s}
    given = {name: value for name, value in times.items() if value is not None}
    spec = dataclasses.replace(spec, **given)
    if spec.observed_s is None:
        raise ValueError(
            "The student was trained with observed clips of no fixed length: give "
            "--observed_s, the seconds of video it is to see."
        )
    return spec


def _first(anticipation, count):
    return dataclasses.replace(
        anticipation,
        classes=anticipation.classes[:count],
        probabilities=anticipation.probabilities[:count],
    )


def _rows(anticipation):
    happens_s = anticipation.happens_s
    start = (
        f"{anticipation.time_s:.3f}",
        "" if happens_s is None else f"{happens_s:.3f}",
    )
    ranked = zip(anticipation.classes, anticipation.probabilities, strict=True)
    for rank, (name, probability) in enumerate(ranked, start=1):
        yield (*start, rank, name, f"{probability:.4f}")


def _clips(spec, video, info, times_s):
    """The clips that end at these times, as evaluation reads them."""
    intervals = [(time_s - spec.observed_s, time_s) for time_s in times_s]
    if spec.clip_format.modality == "flow":
        return np.stack(
            [read_clip(video, info, *i, spec.clip_format) for i in intervals]
        )
    clips = spec.clip_format
    indices = [
        reading.frame_indices(
            info.times_s, info.duration_s, *interval, clips.num_frames, clips.short_clip
        )
        for interval in intervals
    ]
    # Clips overlap; every frame is decoded once for all of them.
    needed, places = np.unique(indices, return_inverse=True)
    height, width = clips.resized(info.height, info.width)
    frames = reading.read_frames(video, info, needed, (width, height))
    return frames[places.reshape(len(intervals), clips.num_frames)]


def _batched(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def _frames_at(video, info, rate):
    """Full-size frames at a constant rate, one at a time."""
    times_s = np.arange(round(info.duration_s * rate)) / rate
    shown = np.searchsorted(info.times_s, times_s + _TIME_ERROR_S, "right") - 1
    return reading.iterate_frames(video, info, np.maximum(shown, 0))


def _annotated(frames, found, rate):
    """Draws on each frame the newest anticipation that was made by its time."""
    made_s = np.array([item.time_s for item in found])
    for index, frame in enumerate(frames):
        made = np.searchsorted(made_s, index / rate + _TIME_ERROR_S, "right") - 1
        frame = frame.copy()
        _draw(frame, found[made] if made >= 0 else None)
        yield frame


def _draw(frame, anticipation):
    """Darkens the lower edge of the frame and writes the ranking on it."""
    lines, bars = ["observing"], [0.0]
    if anticipation is not None:
        lines, bars = [_headline(anticipation)], [0.0]
        ranked = zip(anticipation.classes, anticipation.probabilities, strict=True)
        for name, probability in ranked:
            lines.append(f"{probability:4.0%} {name}")
            bars.append(probability)
    height, width = frame.shape[:2]
    line_px = max(height // 16, 10)
    top = max(height - line_px * len(lines) - line_px // 3, 0)
    frame[top:] = frame[top:] // 3
    for row, (text, bar) in enumerate(zip(lines, bars, strict=True)):
        below = top + (row + 1) * line_px
        above = below - line_px + line_px // 4
        frame[above : below + line_px // 8, : round(bar * width)] = _BAR_COLOR
        lettering.write(frame, text, line_px // 3, below, line_px, _TEXT_COLOR)


def _headline(anticipation):
    if anticipation.happens_s is None:
        return "next"
    return f"in {anticipation.happens_s - anticipation.time_s:g} s"


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        "python -m export.predict",
        required={
            "model": "the folder of an exported student, such as RUN_DIR/export",
            "video": "the file of a video",
        },
        groups={
            "Files": ("model", "video", "output"),
            "Anticipation": ("top_k", "every_s", "observed_s", "lead_time_s"),
        },
    )
