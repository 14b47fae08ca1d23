"""Anticipates what happens next, all along a video, with an exported student.

    python -m export.predict --model=MODELS/name --video=FILE --output=annotated.mp4

Prints a CSV: the time that the student has seen the video up to, the time it speaks
of, and the classes it ranks highest. The annotated video shows the same.
"""

import dataclasses
import os
import pathlib
import sys

import numpy as np
from absl import flags

from export import command, sliding_flags
from export.annotation import annotated
from export.anticipation import TIME_ERROR_S, anticipations
from export.timeline import CsvTimeline
from kd_keras.data.segments import TEST
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video

FLAGS = flags.FLAGS

# The flags of paths.
_PATHS = ("model", "video", "output")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(sliding_flags.Sliding):
    """What the flags ask for; the fields have their names and meanings."""

    model: str
    video: str
    output: str | None = None


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
    sliding_flags.define_flags()
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
    spec = request.spec(student.spec)
    timeline = CsvTimeline(table)
    found = []
    for item in anticipations(student, spec, video, info, request.every_s):
        found.append(item.first(request.top_k))
        timeline.add(found[-1])
    if request.output is not None:
        rate = info.frame_rate
        frames = annotated(_frames_at(video, info, rate), found, rate)
        reading.write_video(request.output, frames, rate)
        print(f"Wrote {request.output}.", file=sys.stderr)


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
            "video": "the file of a video",
        },
        groups={
            "Files": ("model", "video", "output"),
            "Anticipation": sliding_flags.NAMES,
        },
    )
