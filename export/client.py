"""Anticipates what happens next, all along a video, with a student on TF Serving.

    python -m export.client --address=grpc://HOST:8500 --model=NAME --video=FILE
    python -m export.client --address=http://HOST:8501 --model=NAME --video=FILE

Prints the CSV that export.predict prints. The server says how long the clips are that
the student sees; they are sent as JPEGs.
"""

import dataclasses
import sys

from absl import flags

from export import command, sliding_flags
from export.anticipation import anticipations, probed
from export.served_model import Asked
from export.timeline import CsvTimeline

FLAGS = flags.FLAGS

# The flags of paths.
_PATHS = ("video",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(sliding_flags.Sliding):
    """What the flags ask for; the fields have their names and meanings."""

    address: str
    model: str
    video: str
    version: int | None = None
    label: str | None = None
    timeout_s: float = 10.0
    retries: int = 4
    batch_size: int = 8
    jpeg_quality: int = 95


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string(
        "address",
        None,
        "The server: grpc://HOST:8500, http://HOST:8501 or https://HOST.",
    )
    flags.DEFINE_string("model", None, "Name of the model on the server.")
    flags.DEFINE_string("video", None, "Video file.")
    flags.DEFINE_integer(
        "version",
        None,
        "Number of the version; by default the newest that the server has loaded.",
        lower_bound=0,
        # TF Serving counts versions in 64 bits.
        upper_bound=2**63 - 1,
    )
    flags.DEFINE_string(
        "label", None, "Label of the version, such as stable, instead of --version."
    )
    flags.DEFINE_float(
        "timeout_s",
        10.0,
        "Seconds until a request without an answer is given up.",
        lower_bound=0.001,
        # Python waits no longer than its clock counts.
        upper_bound=1e6,
    )
    flags.DEFINE_integer(
        "retries",
        4,
        "How many more times a server that cannot be reached, or is overloaded, is "
        "asked, each time after a longer wait. What a server refuses is never retried.",
        lower_bound=0,
        upper_bound=4,
    )
    flags.DEFINE_integer(
        "batch_size",
        8,
        "Clips in one request; at most what the server's batching allows.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "jpeg_quality",
        95,
        "Of the frames that are sent.",
        lower_bound=1,
        upper_bound=100,
    )
    command.check_finite(["timeout_s"])
    sliding_flags.define_flags()
    command.check_paths(_PATHS)


def run(request: Request, table=sys.stdout) -> None:
    """Writes the CSV to `table`.

    Raises:
        ValueError, OSError: If something given cannot be used, or the server fails.
    """
    # TensorFlow takes seconds to import, so flags are read first.
    from export.remote_student import RemoteStudent, connect

    video, info = probed(request.video)
    fields = (field.name for field in dataclasses.fields(Asked))
    asked = Asked(**{name: getattr(request, name) for name in fields})
    student = RemoteStudent(connect(asked), request.jpeg_quality)
    spec = request.spec(student.spec)
    timeline = CsvTimeline(table)
    slides = anticipations(
        student, spec, video, info, request.every_s, request.batch_size
    )
    for item in slides:
        timeline.add(item.first(request.top_k))


def main(_) -> int:
    request = command.request(Request, FLAGS, _PATHS)
    return command.status_of("client", lambda: run(request))


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        "python -m export.client",
        required={
            "address": "the server, such as grpc://localhost:8500",
            "model": "the name of the model on the server",
            "video": "the file of a video",
        },
        groups={
            "Server": ("address", "model", "version", "label", "timeout_s", "retries"),
            "Requests": ("video", "batch_size", "jpeg_quality"),
            "Anticipation": sliding_flags.NAMES,
        },
    )
