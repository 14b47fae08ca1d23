"""Makes a table of experiments: trains what its rows need, and scores it.

    python -m train.table --flagfile=configs/tables/demo.flags --output=results/demo

Every row is trained for every split and seed, by `python -m train.main` in a folder of
its own below the output. The same command continues after an interruption, and trains
nothing twice.
"""

import dataclasses
import pathlib
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from export import command
from kd_keras import console

if TYPE_CHECKING:
    from train.table.plan import Row
    from train.table.scores import Score

FLAGS = flags.FLAGS

_NAME = "python -m train.table"
# The table of several modalities added up.
_BOTH = "both"
_STOPPED = "table: Stopped. The same command continues, and trains nothing twice."


@dataclasses.dataclass(frozen=True)
class Request:
    """What the flags ask for; the fields have their names and meanings."""

    output: str
    row: list[str]
    run_flag: list[str]
    seeds: list[str]
    splits: list[str]
    shared_teacher: bool = False
    modalities: list[str] = dataclasses.field(default_factory=list)
    baseline: str | None = None
    paper: list[str] | None = None
    devices: list[str] = dataclasses.field(default_factory=list)


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string(
        "output", None, "Folder of the table: table.md, .csv, .json, .svg and runs/."
    )
    flags.DEFINE_multi_string(
        "row",
        None,
        "TITLE = NETWORK [FLAGS], once for each row. NETWORK is majority, bigram, "
        "teacher.future, teacher.observed, or one of train.main's --students. FLAGS "
        "are added to the runs of this row. Rows of the same FLAGS share runs and "
        "teacher.",
    )
    flags.DEFINE_bool(
        "shared_teacher",
        False,
        "Let the run of the first row train the teacher of all rows with its split and "
        "seed. The FLAGS of the other rows then change students alone.",
    )
    flags.DEFINE_multi_string(
        "run_flag",
        [],
        "Flag of every run, such as --run_flag=--batch_size=8. In it, {split} becomes "
        "the number of the split, as in --run_flag=--annotations=fold{split}.csv, and "
        "{modality} one of --modalities.",
    )
    flags.DEFINE_list("seeds", ["0"], "Values of --seed.")
    flags.DEFINE_list("splits", ["1"], "Values of --split, or of {split}.")
    flags.DEFINE_string(
        "baseline",
        None,
        "Title of the row that others are compared with; by default the first student.",
    )
    flags.DEFINE_list(
        "modalities",
        [],
        "Values of --modality, such as rgb,flow: each has a table in a folder of its "
        "name, and so have several of them added up, logits to logits, in `both`.",
    )
    flags.DEFINE_multi_string(
        "paper",
        None,
        "TITLE = PERCENT: what the paper has for a row. With --modalities it has a "
        "percentage for each of them and for `both`, comma-separated.",
    )
    flags.DEFINE_list(
        "devices",
        [],
        "Numbers of the GPUs to use, each for one run at a time; by default one run "
        "after the other.",
    )
    command.check_paths(["output"])
    for name in ("seeds", "splits"):
        flags.register_validator(
            name,
            lambda values: values and all(value.isdecimal() for value in values),
            "it is a list of whole numbers, such as 0,1,2.",
        )


def run(request: Request) -> "list[Score]":
    """Trains and scores the table; returns its `Score`s, of each modality in turn.

    Raises:
        ValueError, OSError, JobsFailedError: If a flag makes no sense, the folder
            cannot be written to, or runs failed.
    """
    # TensorFlow takes seconds to import, so flags are checked first.
    from train.table import files, plan, running
    from train.table import scores as scores_lib

    rows = [plan.parse_row(text) for text in request.row]
    titles = [row.title for row in rows]
    if len(set(titles)) < len(titles):
        raise ValueError(f"Each --row needs a title of its own. Got {titles}.")
    baseline = _baseline(request.baseline, rows)
    output = pathlib.Path(request.output)
    seeds, splits = (list(map(int, v)) for v in (request.seeds, request.splits))
    _refuse_twins(seeds=seeds, splits=splits, modalities=request.modalities)
    # By modality; without --modalities there is one table, which has no name.
    jobs = {
        name: plan.jobs(
            rows,
            _of_modality(request.run_flag, name),
            splits,
            seeds,
            output,
            request.shared_teacher,
        )
        for name in request.modalities or [""]
    }
    tables = {name: [own] for name, own in jobs.items()}
    if len(jobs) > 1:
        tables[_BOTH] = [*jobs.values()]
    paper = dict(
        _paper(text, titles, request.modalities) for text in request.paper or ()
    )
    all_jobs = [job for own in jobs.values() for job in own.values()]
    plan.check_flags(all_jobs)
    running.run(all_jobs, request.devices)
    found = []
    for place, (name, streams) in enumerate(tables.items()):
        scores = scores_lib.scores(rows, streams, splits, seeds)
        commands = {
            row.title: [
                job.arguments
                for own in streams
                for key, job in own.items()
                if key[0] == row.flags
            ]
            for row in rows
        }
        numbers = {title: numbers[place] for title, numbers in paper.items()}
        (output / name).mkdir(parents=True, exist_ok=True)
        files.write(output / name, scores, seeds, baseline, numbers, commands)
        if name:
            print(f"\n{name}\n")
        print((output / name / "table.md").read_text(encoding="utf-8"), end="")
        found += scores
    return found


def _refuse_twins(**lists: Sequence) -> None:
    """Refuses what is given twice: the scores would count the same runs twice."""
    for name, values in lists.items():
        if len(set(values)) < len(values):
            raise ValueError(f"--{name} has a value twice. Got {values}.")


def _of_modality(run_flags: Sequence[str], name: str) -> list[str]:
    """Flags of the runs of a modality; without a name they stay as they are."""
    if not name:
        return [*run_flags]
    named = [flag.replace("{modality}", name) for flag in run_flags]
    return [*named, f"--modality={name}"]


def _baseline(title: str | None, rows: "Sequence[Row]") -> str | None:
    """The title of the row that others are compared with."""
    networks = [row.title for row in rows if row.logits is not None]
    if title is None:
        students = (row.title for row in rows if row.is_student)
        return next(students, None)
    if title not in networks:
        raise ValueError(
            f"--baseline must be the title of a row with a network. Got {title!r}."
        )
    return title


def _paper(
    text: str, titles: Sequence[str], modalities: Sequence[str]
) -> tuple[str, list[float]]:
    """The title of a row, and a number for each table.

    If --modalities is not given, the table takes the first number.
    """
    title, _, numbers = text.rpartition(" = ")
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        values = []
    # Several modalities also have a table of their sum.
    needed = len(modalities) + (len(modalities) > 1)
    if title not in titles or not values or (needed and len(values) != needed):
        raise ValueError(
            "--paper is TITLE = PERCENT, with the title of a row"
            + (
                f"; --modalities={','.join(modalities)} needs {needed}"
                if needed
                else ""
            )
            + f". Got {text!r}."
        )
    return title, values


@console.reader_may_leave()
def main(arguments: Sequence[str]) -> int:
    """Does what the flags say; returns the status that the process ends with."""
    del arguments
    from train.table.running import JobsFailedError

    request = command.request(Request, FLAGS, ["output"])
    errors = (ValueError, OSError, JobsFailedError)
    signal.signal(signal.SIGTERM, _stop)
    try:
        return command.status_of("table", lambda: run(request), errors)
    except KeyboardInterrupt:
        print(_STOPPED, file=sys.stderr)
        return 128 + signal.SIGINT


def _stop(*_: object) -> None:
    sys.exit(_STOPPED)


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        _NAME,
        required={
            "output": "the folder that keeps the table, such as --output=results/demo",
            "row": "the rows of the table; see configs/tables",
        },
        groups={"Table": [field.name for field in dataclasses.fields(Request)]},
    )
