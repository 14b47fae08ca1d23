"""Scores the networks of finished runs on clips that end earlier or later.

    python -m train.horizon runs/seed-0 runs/seed-1 --lead_times_s=0.25,0.5,1,2
    python -m train.horizon runs/jhmdb --observed_fractions=0.1,0.2,0.5,1

Nothing is trained: the networks are shown the observed clips of other lead times, or
other parts of the clips. All scores are of the same actions. A clip that would begin
before its video is padded with the first frame. The command writes horizon.md,
horizon.csv and horizon.svg.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from absl import flags

from export import command
from kd_keras.data import given_paths, remote

if TYPE_CHECKING:
    import numpy as np

    from kd_keras.data.segments import Clip, Pair
    from kd_keras.statistics import Interval
    from train.finished_run import FinishedRun

FLAGS = flags.FLAGS

_NAME = "python -m train.horizon"
_TIMES, _FRACTIONS = "lead_times_s", "observed_fractions"
# The data flag that each of them varies, and what an axis calls it.
_VARIED = {_TIMES: "lead_time_s", _FRACTIONS: "observed_fraction"}
_TITLES = {_TIMES: "lead time in seconds", _FRACTIONS: "observed fraction of the clip"}


@dataclasses.dataclass(frozen=True)
class Request:
    """What the flags ask for; the fields have their names and meanings."""

    lead_times_s: tuple[float, ...] = ()
    observed_fractions: tuple[float, ...] = ()
    output: str | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    """What a network scores at one lead time, or for one observed fraction.

    Attributes:
        at: The lead time in seconds, or the fraction.
        network: Its name, as in predictions.npz.
        top1: `Interval` in percent.
        gain: `Interval` of the difference to the student from labels alone, in points,
            or to the first student if there is none; None for that student itself and
            for the teacher.
    """

    at: float
    network: str
    top1: "Interval"
    gain: "Interval | None"


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_list(_TIMES, [], "Lead times to score, of runs by lead time.")
    flags.DEFINE_list(
        _FRACTIONS, [], "Observed fractions to score, of runs with --observed_fraction."
    )
    flags.DEFINE_string(
        "output", None, "Folder to write to, by default the folder of the first run."
    )
    command.check_paths(["output"])
    for name, is_usable, text in (
        (_TIMES, lambda value: 0 <= value < float("inf"), "seconds from 0"),
        (_FRACTIONS, lambda value: 0 < value <= 1, "fractions above 0 and up to 1"),
    ):
        flags.register_validator(
            name,
            _all_are(is_usable),
            f"they are {text}, such as --{name}=0.5,1.",
        )


def run(paths: Sequence[str], request: Request) -> list[Point]:
    """Scores the runs at each time; writes the table and its picture.

    Args:
        paths: Run directories, which evaluate the same clips.
        request: The `Request`.
    Raises:
        ValueError, OSError: If a folder holds no finished run, the runs are not of the
            same clips and networks, or the output cannot be written to.
    """
    if bool(request.lead_times_s) == bool(request.observed_fractions):
        raise ValueError(f"Give either --{_TIMES} or --{_FRACTIONS}.")
    if request.output is None and remote.is_remote(paths[0]):
        raise ValueError(f"{paths[0]} is remote and only read: give --output=DIR.")
    # TensorFlow takes seconds to import, so flags are checked first.
    from train import remote_run
    from train.finished_run import FinishedRun

    kind = _TIMES if request.lead_times_s else _FRACTIONS
    values = request.lead_times_s or request.observed_fractions
    with remote_run.fetched(*paths) as folders:
        runs = [FinishedRun(folder) for folder in folders]
        # One pair for each action, in the same order at all times.
        by_run = [_pairs(run, kind, values) for run in runs]
        asked = [
            ([pair.future for pair in by_value[0]], run.methods())
            for run, by_value in zip(runs, by_run, strict=True)
        ]
        _require_same(paths, asked)
        found = [
            _right(run, by_value) for run, by_value in zip(runs, by_run, strict=True)
        ]
    # A video may turn out unreadable on the way.
    _require_same(paths, [clips for clips, *_ in found])
    clips, clusters, _ = found[0]
    points = _points(values, [right for *_, right in found], clusters)
    output = pathlib.Path(request.output or paths[0])
    remote.make_folder(output)
    _write(output, kind, points)
    print(f"Clips: {len(clips)}. Runs: {len(paths)}.")
    print((output / "horizon.md").read_text(encoding="utf-8"), end="")
    return points


def _require_same(paths: Sequence[str], found: Sequence[object]) -> None:
    for path, one in zip(paths, found, strict=True):
        if one != found[0]:
            raise ValueError(
                f"{path} is not of the same clips and networks as {paths[0]}."
            )


def _pairs(
    run: "FinishedRun", kind: str, values: Sequence[float]
) -> "list[list[Pair]]":
    """The evaluated pairs of a run at each value."""
    own = _TIMES if run.config.data.observed_fraction is None else _FRACTIONS
    if kind != own:
        raise ValueError(f"{run.path} is a run that takes --{own}, not --{kind}.")
    flag = _VARIED[kind]
    return [
        run.pairs_at(dataclasses.replace(run.timing, **{flag: value}))
        for value in values
    ]


def _right(
    run: "FinishedRun", by_value: "Sequence[Sequence[Pair]]"
) -> "tuple[list[Clip], list[str], dict[str, np.ndarray]]":
    """The future clips, their clusters, and by network (values, clips), 1 if right."""
    import numpy as np

    from kd_keras.data.parallel import progress_bar

    observers = run.observers(run.methods())
    bar = progress_bar(len(observers) * sum(map(len, by_value)), "clip")
    predicted = {
        name: [run.predicted(predictor, pairs, bar) for pairs in by_value]
        for name, predictor in observers.items()
    }
    readable = sorted(
        set.intersection(*(set(one) for all_ in predicted.values() for one in all_))
    )
    pairs = [by_value[0][index] for index in readable]
    labels = np.array([pair.label for pair in pairs])
    clips = [pair.future for pair in pairs]
    clusters = [run.data.index.videos[clip.video].cluster for clip in clips]
    right = {
        name: np.array(
            [np.array([one[index] for index in readable]) == labels for one in found],
            np.float64,
        )
        for name, found in predicted.items()
    }
    return clips, clusters, right


def _points(
    values: Sequence[float],
    runs: "Sequence[dict[str, np.ndarray]]",
    clusters: Sequence[str],
) -> list[Point]:
    import numpy as np

    from kd_keras.statistics import mean_interval
    from train.report.scores import BASELINE

    # (runs, values, clips) each.
    right = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    students = [name for name in right if name.startswith("students.")]
    baseline = BASELINE if BASELINE in students else next(iter(students), "")
    points = []
    for place, value in enumerate(values):
        for name, hits in right.items():
            gain = None
            if name in students and name != baseline:
                difference = hits[:, place] - right[baseline][:, place]
                gain = mean_interval(100 * difference, clusters)
            top1 = mean_interval(100 * hits[:, place], clusters)
            points.append(Point(value, name, top1, gain))
    return points


def _write(output: pathlib.Path, kind: str, points: Sequence[Point]) -> None:
    from kd_keras.aside import written_aside
    from train.report import charts
    from train.table.files import range_text, write_lines

    header = [_TITLES[kind], "network", "top-1", "95 %", "gain", "95 % of gain"]
    lines = [header]
    for point in points:
        cells = [f"{point.at:g}", point.network, f"{point.top1.mean:.1f}"]
        cells.append(range_text(point.top1))
        gain = point.gain
        cells += ["", ""] if gain is None else [f"{gain.mean:+.1f}", range_text(gain)]
        lines.append(cells)
    write_lines(output / "horizon", lines)
    curves: dict[str, list[tuple[float, Interval]]] = {}
    for point in points:
        curves.setdefault(point.network, []).append((point.at, point.top1))
    with written_aside(output / "horizon.svg") as path:
        charts.over_time(curves, _TITLES[kind], path)


def _all_are(is_usable: Callable[[float], bool]) -> Callable[[list[str]], bool]:
    def check(values: list[str]) -> bool:
        try:
            return all(is_usable(float(value)) for value in values)
        except ValueError:
            return False

    return check


def main(arguments: Sequence[str]) -> int:
    """Does what the flags say; returns the status that the process ends with."""
    request = command.request(Request, FLAGS, ["output"])
    request = dataclasses.replace(
        request,
        lead_times_s=tuple(sorted(map(float, request.lead_times_s))),
        observed_fractions=tuple(sorted(map(float, request.observed_fractions))),
    )
    paths = [given_paths.expanded(path) for path in arguments[1:]]
    return command.status_of("horizon", lambda: run(paths, request))


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        _NAME,
        required={},
        groups={"Horizon": [field.name for field in dataclasses.fields(Request)]},
        operand="RUN_DIR",
    )
