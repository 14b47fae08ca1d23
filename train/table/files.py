"""Writes a table as Markdown, CSV, JSON and a plot."""

import csv
import dataclasses
import json
import math
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt

from kd_keras import lettering
from kd_keras.aside import written_aside
from kd_keras.statistics import Interval
from train.table.scores import Score


def write(
    output: pathlib.Path,
    scores: Sequence[Score],
    seeds: Sequence[int],
    baseline: str | None,
    paper: Mapping[str, float],
    commands: Mapping[str, Sequence[Sequence[str]]],
) -> None:
    """Writes table.md, table.csv, table.json and table.svg.

    Args:
        output: The folder.
        scores: Of the rows.
        seeds: Of the columns.
        baseline: Title of the row that others are compared with in table.md, table.csv.
            table.json compares each row with every other. None compares none.
        paper: The paper's number by title of a row, in percent.
        commands: The arguments of `python` for each cell of a row, by its title.
    """
    lines = _cells(scores, seeds, baseline, paper)
    write_lines(output / "table", lines)
    content = [
        {
            **dataclasses.asdict(score, dict_factory=_without_nan),
            "paper": paper.get(score.row.title),
        }
        | {"commands": [f"python {shlex.join(c)}" for c in commands[score.row.title]]}
        for score in scores
    ]
    with written_aside(output / "table.json") as path:
        table = {"seeds": list(seeds), "baseline": baseline, "rows": content}
        text = json.dumps(table, indent=1)
        path.write_text(text + "\n", encoding="utf-8")
    with written_aside(output / "table.svg") as path:
        _draw(scores, paper, path)


def _without_nan(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A dict with null for what is not known, as JSON has no NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in items
    }


def write_lines(path: pathlib.Path, lines: Sequence[Sequence[str]]) -> None:
    """Writes the cells of a table, its header first, as Markdown and as CSV.

    Args:
        path: Of the files, without .md and .csv.
        lines: The cells of each line.
    """
    with written_aside(path.with_suffix(".md")) as aside:
        aside.write_text(_markdown(lines), encoding="utf-8")
    with (
        written_aside(path.with_suffix(".csv")) as aside,
        open(aside, "w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(lines)


def range_text(interval: Interval, digits: int = 1) -> str:
    """Returns the bounds of an interval as a cell of a table."""
    if not interval.is_known:
        return "not known"
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def _cells(
    scores: Sequence[Score],
    seeds: Sequence[int],
    baseline: str | None,
    paper: Mapping[str, float],
) -> list[list[str]]:
    header = ["", *(f"seed {seed}" for seed in seeds), "mean", "95 %", "deviation"]
    header += ["gain", "95 % of gain"]
    header += ["loss", "scaled loss", "difference", "95 % of difference"]
    header += ["paper"] if paper else []
    lines = [header]
    for score in scores:
        is_reference = score.row.logits is None
        line = [score.row.title, *(f"{value:.1f}" for value in score.by_seed)]
        line += [
            f"{score.mean.mean:.1f}",
            "" if is_reference else range_text(score.mean),
        ]
        line.append("" if score.deviation is None else f"{score.deviation:.1f}")
        over = score.over.get(baseline) if baseline else None
        line += _difference(over.top1 if over else None, 1)
        for loss in (score.loss, score.scaled_loss):
            line.append("" if loss is None else f"{loss.mean:.2f}")
        line += _difference(over.scaled_loss if over else None, 2)
        if paper:
            line.append(
                f"{paper[score.row.title]:.1f}" if score.row.title in paper else ""
            )
        lines.append(line)
    return lines


def _difference(interval: Interval | None, digits: int) -> list[str]:
    """A difference to the baseline and its bounds, as two cells."""
    if interval is None:
        return ["", ""]
    return [f"{interval.mean:+.{digits}f}", range_text(interval, digits)]


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    header, *others = lines
    return row(header) + row(["---"] * len(header)) + "".join(map(row, others))


def _draw(
    scores: Sequence[Score], paper: Mapping[str, float], path: pathlib.Path
) -> None:
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(scores) + 1.2))
    for place, score in enumerate(scores):
        mean = score.mean
        axes.barh(place, mean.mean, color="#0072b2", height=0.6)
        reach = [[mean.mean - mean.low], [mean.high - mean.mean]]
        axes.errorbar(mean.mean, place, xerr=reach, color="black", capsize=3)
        if score.row.title in paper:
            axes.plot(paper[score.row.title], place, "D", color="#d55e00")
    titles = [score.row.title for score in scores]
    # Titles are no formulas, and may be in any script.
    axes.set_yticks(
        range(len(scores)),
        [lettering.readable(title) for title in titles],
        family=lettering.families(titles),
        parse_math=False,
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    label = "top-1 in percent, with 95 % intervals"
    axes.set_xlabel(f"{label}; diamonds: the paper" if paper else label)
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)
