"""Writes one HTML page about finished runs, which needs no other file.

    python -m train.report RUN_DIR [RUN_DIR...]

Runs that evaluate the same clips are compared pair by pair. Nothing is written to the
runs except the page and, beside it, a PNG and an MP4 of each correspondence.
"""

import dataclasses
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from export import command
from kd_keras.data import given_paths, remote

FLAGS = flags.FLAGS

_NAME = "python -m train.report"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the flags ask for; the fields have their names and meanings."""

    output: str | None = None
    clip: int | None = None
    token: tuple[int, ...] | None = None


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string(
        "output",
        None,
        "HTML file to write; by default report.html in the folder of the first run.",
    )
    flags.DEFINE_integer(
        "clip",
        None,
        "Number of the evaluated clip whose correspondence is shown, from 0 in the "
        "order of pairs_evaluated.csv without those that could not be read; by "
        "default clips that distillation won.",
        lower_bound=0,
    )
    flags.DEFINE_list(
        "token",
        None,
        "TIME,ROW,COLUMN, each from 0, of the cell of the observed clip that the PNG "
        "and the MP4 of the correspondence are of; by default the one with the highest "
        "class activation.",
    )
    command.check_paths(["output"])
    flags.register_validator(
        "output",
        lambda path: path is None or path.endswith(".html"),
        "it must end in .html.",
    )
    flags.register_validator(
        "token",
        lambda places: (
            places is None
            or (len(places) == 3 and all(place.isdecimal() for place in places))
        ),
        "it is TIME,ROW,COLUMN, such as --token=0,2,3.",
    )


def run(paths: Sequence[str], request: Request, line: str) -> pathlib.Path:
    """Writes the page of some runs; returns its path.

    Args:
        paths: Run directories.
        request: The `Request`.
        line: The command that makes the page, to be shown on it.
    Raises:
        ValueError, OSError: If a folder is given twice, holds no finished run, or
            cannot be written to.
    """
    # TensorFlow takes seconds to import, so flags are checked first.
    from train import remote_run
    from train.report import page, section

    if request.output is None and remote.is_remote(paths[0]):
        raise ValueError(
            f"{paths[0]} is remote and only read: give --output=FILE.html."
        )
    names = _names(paths)
    output = pathlib.Path(request.output or pathlib.Path(paths[0]) / "report.html")
    with remote_run.fetched(*paths) as folders:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        sections = [
            section.of_run(
                folder, name, output.parent, request.clip, request.token, path
            )
            for folder, name, path in zip(folders, names, paths, strict=True)
        ]
        page.write(output, sections, line)
    print(f"The report is {output}; open it in a browser.")
    return output


def _names(paths: Sequence[str]) -> list[str]:
    """The shortest ends of paths that tell them apart."""
    whole = [
        path if remote.is_remote(path) else os.path.realpath(path) for path in paths
    ]
    parts = [tuple(path.rstrip("/").split("/")) for path in whole]
    if len(set(parts)) < len(parts):
        raise ValueError(
            "A run is given twice, which would be compared with itself. Got "
            f"{', '.join(paths)}."
        )
    length = 1
    while len({own[-length:] for own in parts}) < len(parts):
        length += 1
    return ["/".join(own[-length:]) for own in parts]


def main(arguments: Sequence[str]) -> int:
    """Does what the flags say; returns the status that the process ends with."""
    request = command.request(Request, FLAGS, ["output"])
    if request.token is not None:
        request = dataclasses.replace(request, token=tuple(map(int, request.token)))
    paths = [given_paths.expanded(path) for path in arguments[1:]]
    line = f"{_NAME} {shlex.join(sys.argv[1:])}"
    return command.status_of("report", lambda: run(paths, request, line))


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        _NAME,
        required={},
        groups={"Report": [field.name for field in dataclasses.fields(Request)]},
        operand="RUN_DIR",
    )
