"""Anticipates what happens next, all along a video, with an exported student.

    python -m export.predict --model=MODELS/name --video=FILE --output=annotated.mp4

Prints a CSV: the time that the student has seen the video up to, the time it speaks
of, and the classes it ranks highest. The annotated video shows the same. The video may
also be a camera (--video=0), a stream (--video=rtsp://HOST/PATH) or standard input
(--video=-), which are shown in a window unless --headless.
"""

import collections
import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from export import (
    annotation,
    command,
    live_display,
    live_source,
    sliding_flags,
    timeline,
)
from export.anticipation import TIME_ERROR_S, anticipations, probed
from export.live import LiveAnticipations
from kd_keras.data import given_paths
from kd_keras.data.video import reading

FLAGS = flags.FLAGS

# The flags of paths.
_PATHS = ("model", "video", "output", "timeline")
# Frames per second of a file that is written from a stream.
_LIVE_RATE = 25.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(sliding_flags.Sliding):
    """What the flags ask for; the fields have their names and meanings."""

    model: str
    video: str
    output: str | None = None
    timeline: Sequence[str] = ()
    headless: bool = False


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string(
        "model",
        None,
        "Folder of an exported student (its newest version is used), or a version.",
    )
    flags.DEFINE_string(
        "video",
        None,
        "Video file; a camera's number or device, such as 0 or /dev/video0; an "
        "address, such as rtsp://HOST/PATH; or - for standard input.",
    )
    flags.DEFINE_string(
        "output", None, "Annotated video to write (.mp4); by default none."
    )
    flags.DEFINE_multi_string(
        "timeline",
        [],
        "File (.csv or .json) to write what is printed to; may be given twice.",
    )
    flags.DEFINE_bool(
        "headless", False, "Opens no window for a camera, a stream or standard input."
    )
    sliding_flags.define_flags()
    command.check_paths(_PATHS)


def run(request: Request, table=sys.stdout) -> None:
    """Writes the CSV to `table`, the timelines and the annotated video to their files.

    Raises:
        ValueError, OSError: If something given cannot be used. If a stream breaks off,
            what was seen of it is written before.
    """
    # TensorFlow takes seconds to import, so flags are read first.
    from export.exported_student import ExportedStudent

    _require_output(request)
    for path in request.timeline:
        given_paths.require_output_file("timeline", path, *timeline.ENDINGS)
    is_live = live_source.is_live(request.video)
    opened = None if is_live else probed(request.video)
    student = ExportedStudent(request.model)
    spec = request.spec(student.spec)
    broken = None
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(timeline.written(p)) for p in request.timeline]
        timelines = [timeline.CsvTimeline(table), *files]

        def add(anticipation):
            for one in timelines:
                one.add(anticipation.first(request.top_k))

        if is_live:
            broken = _along_stream(request, student, spec, add)
        else:
            _along_file(request, student, spec, add, *opened)
    if request.output is not None:
        print(f"Wrote {request.output}.", file=sys.stderr)
    if broken is not None:
        # What was seen until then is written.
        raise broken


def main(_) -> int:
    request = command.request(Request, FLAGS, _PATHS)
    return command.status_of("predict", lambda: run(request))


def _require_output(request):
    if request.output is None:
        return
    given_paths.require_output_file("output", request.output, ".mp4")
    output = pathlib.Path(request.output)
    is_file = not live_source.is_live(request.video)
    if is_file and output.exists() and output.samefile(request.video):
        raise ValueError(f"--output={output} is the video itself.")


def _along_file(request, student, spec, add, video, info):
    found = []
    for item in anticipations(student, spec, video, info, request.every_s):
        found.append(item.first(request.top_k))
        add(item)
    if request.output is not None:
        rate = info.frame_rate
        frames = annotation.annotated(_frames_at(video, info, rate), found, rate)
        reading.write_video(request.output, frames, rate)


def _along_stream(request, student, spec, add):
    """Returns the error of a source that broke off after its first frame, or None."""
    if spec.clip_format.modality != "rgb":
        raise ValueError(
            f"The student takes {spec.clip_format.modality}, which is computed from "
            "files alone: give --video=FILE."
        )
    waits = live_source.can_wait(request.video)
    live = LiveAnticipations(student, spec, request.every_s, add, waits)
    errors = []
    with live_source.stopped_by_signals() as stops:
        source = live_source.frames(request.video, spec.clip_format, stops)
        frames = live.follow(_until_broken(source, errors))
        if request.output is not None or not request.headless:
            frames = live_display.annotated(frames, live, request.top_k)
        if not request.headless:
            frames = live_display.LiveWindow(request.video).passing(frames)
        if request.output is not None:
            pictures = live_display.at_rate(frames, _LIVE_RATE)
            reading.write_video(request.output, pictures, _LIVE_RATE)
        else:
            collections.deque(frames, maxlen=0)
    if live.dropped:
        print(
            f"{live.dropped} windows were dropped: the student is slower than "
            f"--every_s={request.every_s:g}.",
            file=sys.stderr,
        )
    if live.empty:
        print(
            f"{live.empty} windows were left out: no frame came in them.",
            file=sys.stderr,
        )
    return errors[0] if errors else None


def _until_broken(source, errors):
    """Yields frames until the source breaks off; its error then goes to `errors`."""
    has_begun = False
    try:
        for frame in source:
            has_begun = True
            yield frame
    except ValueError as error:
        if not has_begun:
            raise
        errors.append(error)


def _frames_at(video, info, rate):
    """Full-size frames at a constant rate, one at a time."""
    times_s = np.arange(round(info.duration_s * rate)) / rate
    shown = np.searchsorted(info.times_s, times_s + TIME_ERROR_S, "right") - 1
    return reading.iterate_frames(video, info, np.maximum(shown, 0))


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        "python -m export.predict",
        required={
            "model": "the folder of an exported student, such as RUN_DIR/export",
            "video": "the file of a video, or a camera such as 0",
        },
        groups={
            "Files": ("model", "video", "output", "timeline", "headless"),
            "Anticipation": sliding_flags.NAMES,
        },
    )
