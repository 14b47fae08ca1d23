"""What a table consists of: its rows, and the runs that its rows need."""

import dataclasses
import hashlib
import itertools
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from train import predictions
from train.flags import config
from train.flags.learning import METHODS

# Rows without a network to train: they are in every run's results.
REFERENCES = ("majority", "bigram")
_TEACHERS = (predictions.TEACHER_FUTURE, predictions.TEACHER_OBSERVED)
# The flags that a run was given, in its folder; run.flags has the defaults as well.
GIVEN = "given.flags"
# What a table gives to its runs itself, and by which of its flags.
_OWN = {
    "students": "the networks of --row",
    "split": "--splits",
    "seed": "--seeds",
    "run_dir": "--output",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        title: Its name.
        network: `majority`, `bigram`, `teacher.future`, `teacher.observed`, or how a
            student is trained.
        flags: The flags of its runs that others do not have.
    """

    title: str
    network: str
    flags: tuple[str, ...] = ()

    @property
    def is_student(self) -> bool:
        """Whether its network is a student."""
        return self.network in METHODS

    @property
    def logits(self) -> str | None:
        """The name of its logits in predictions.npz; None of a reference."""
        if self.network in REFERENCES:
            return None
        if self.network in _TEACHERS:
            return self.network
        return predictions.of_student(self.network)


@dataclasses.dataclass(frozen=True)
class Job:
    """A run of `python -m train.main`.

    Attributes:
        folder: The run directory.
        flags: All of its flags except --run_dir.
        name: Titles of its rows, its split and its seed.
        after: The job that trains its teacher; None if it trains its own.
    """

    folder: pathlib.Path
    flags: tuple[str, ...]
    name: str
    after: "Job | None" = None

    @property
    def is_done(self) -> bool:
        """Whether the run has ended well."""
        return all(
            (self.folder / name).exists() for name in ("results.json", predictions.FILE)
        )

    @property
    def arguments(self) -> list[str]:
        """What follows `python`."""
        return ["-m", "train.main", *self.flags, f"--run_dir={self.folder}"]


# By the flags of rows, the split and the seed.
Jobs: TypeAlias = Mapping[tuple[tuple[str, ...], int, int], Job]


def parse_row(text: str) -> Row:
    """Returns the row that `TITLE = NETWORK [FLAGS]` describes.

    Raises:
        ValueError: If it is anything else.
    """
    title, equals, rest = text.partition(" = ")
    try:
        network, *flags = shlex.split(rest) or [""]
    except ValueError as error:
        raise ValueError(
            f"--row={text!r} is not understood: {error}. Quotes within a row come in "
            "pairs, as on a command line."
        ) from error
    if not equals or not title.strip():
        raise ValueError(
            "--row is TITLE = NETWORK [FLAGS], such as --row='L_d = attention "
            f"--direction=symmetric'. Got {text!r}."
        )
    known = (*REFERENCES, *_TEACHERS, *METHODS)
    if network not in known:
        raise ValueError(
            f"The network of --row={text!r} must be one of {', '.join(known)}. Got "
            f"{network!r}."
        )
    return Row(title.strip(), network, tuple(flags))


def jobs(
    rows: Sequence[Row],
    run_flags: Sequence[str],
    splits: Sequence[int],
    seeds: Sequence[int],
    output: pathlib.Path,
    shared_teacher: bool = False,
) -> Jobs:
    """Returns the `Job` of each (flags of rows, split, seed).

    Rows of the same flags share their runs, and so their teacher. A job comes after the
    one that trains its teacher.

    Args:
        rows: Of the table.
        run_flags: Flags of every run. A `{split}` in them becomes the split's number,
            which is --split otherwise.
        splits: Values of --split.
        seeds: Values of --seed.
        output: The table's folder.
        shared_teacher: Whether all rows of a split and seed have the teacher of the
            first row.
    Raises:
        ValueError: If a flag is one that the table gives itself.
    """
    methods: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        known = methods.setdefault(row.flags, [])
        if row.network in METHODS and row.network not in known:
            known.append(row.network)
    first = next(iter(methods))
    found: dict[tuple[tuple[str, ...], int, int], Job] = {}
    for (flags, students), split, seed in itertools.product(
        methods.items(), splits, seeds
    ):
        named = f"--students={','.join(students or ['labels'])}"
        own = (*run_flags, *flags, named)
        chosen = [flag.replace("{split}", str(split)) for flag in own]
        has_split = chosen != [*own]
        _refuse_own((*run_flags, *flags), has_split)
        if not has_split:
            chosen.append(f"--split={split}")
        after = None
        if shared_teacher and flags != first:
            after = found[first, split, seed]
            own += ("--shared_teacher",)
            chosen.append(f"--teacher={after.folder / 'teacher.keras'}")
        # Another set of flags is another run; the order of other rows does not matter.
        code = hashlib.sha256("\n".join(own).encode()).hexdigest()[:8]
        folder = output / "runs" / f"{code}-split{split}-seed{seed}"
        titles = ", ".join(row.title for row in rows if row.flags == flags)
        found[flags, split, seed] = Job(
            folder,
            (*chosen, f"--seed={seed}", "--noexport"),
            f"{titles} (split {split}, seed {seed})",
            after,
        )
    return found


def _refuse_own(flags: Sequence[str], has_split: bool) -> None:
    for flag in flags:
        name = flag.lstrip("-").partition("=")[0]
        if name in _OWN and not (name == "split" and has_split):
            raise ValueError(
                f"--run_flag and the FLAGS of --row cannot have {flag}: the value of "
                f"--{name} is from {_OWN[name]}."
            )


def check_flags(jobs: Iterable[Job]) -> None:
    """Looks the flags of all jobs over before one of them runs for hours.

    Raises:
        ValueError: If they are wrong; or a job was done with other flags, which a
            flagfile gave that has changed since, or with some that it gives no more; or
            its teacher is of another job by now.
    """
    for job in jobs:
        try:
            given = config.given(job.flags)
        except ValueError as error:
            raise ValueError(
                f"The runs of {job.name} have wrong flags: {error}. Correct --row or "
                "--run_flag."
            ) from error
        if job.is_done:
            _refuse_other_flags(job, given)


def _refuse_other_flags(job: Job, given: Mapping[str, Any]) -> None:
    flagfile = job.folder / GIVEN
    try:
        before = config.as_flags(config.from_flagfile(job.folder / "run.flags"))
        given_before = (
            config.given([f"--flagfile={flagfile}"]) if flagfile.is_file() else {}
        )
    except ValueError:
        # Of a version with other flags; the scores are still of this job.
        return
    now = config.as_flags(config.from_arguments(job.flags))
    differing = [
        f"--{name} was {before[name]!r}, now {now[name]!r}"
        for name in sorted({*given, *given_before})
        # A path may be spelled in several ways.
        if name not in config.FREE | config.PATHS and before[name] != now[name]
    ]
    # The teacher's folder has its flags, split and seed in its name.
    if job.after is not None and (
        pathlib.Path(before["teacher"] or "").parent.name != job.after.folder.name
    ):
        differing.append(f"--teacher was {before['teacher']!r}, now {now['teacher']!r}")
    if differing:
        raise ValueError(
            f"{job.folder} holds the run of {job.name} with other flags: "
            f"{'; '.join(differing)}. Give the same flags, delete the folder, or give "
            "another --output."
        )
