"""The tables of the documentation have the numbers of the files in results."""

import json
import re
from pathlib import Path

import pytest

# Not resolved: under Bazel the files stand as links beside this one.
ROOT = Path(__file__).parents[1]
# The file of each table, by the page and the first cell of the table's header.
_TABLES = {
    "demo": ("docs/results-demo.md", "seed"),
    "thetis-25": ("docs/results.md", "396 labels"),
    "thetis-10": ("docs/results.md", "158 labels"),
    "drift-30": ("docs/results-demo.md", "`Mixed_4f`"),
    "drift-30-fine": ("docs/results-demo.md", "`Mixed_3c`"),
    "sensitivity": ("docs/results-demo.md", "one flag changed"),
    "silhouettes": ("docs/results-silhouettes.md", "three splits"),
    "silhouettes-flow": ("docs/results-silhouettes.md", "flow, seed 0"),
    "silhouettes-both": ("docs/results-silhouettes.md", "RGB and flow, seed 0"),
    "silhouettes-25": ("docs/results-silhouettes.md", "three splits, 165 labels"),
    "ut_interaction-20-50": ("docs/results.md", "120 clips, half of the labels"),
    "ut_interaction-50-50": ("docs/results.md", "120 clips, the first half is seen"),
    "ceiling_actions-25": ("docs/results.md", "288 clips, a quarter of the labels"),
    "ceiling_actions-50": ("docs/results.md", "288 clips, half of the labels"),
}
# What rows are called in silhouettes.json, as in Table 1 of the paper.
_PAPER = {
    "teacher, first 20 %": "recognition, first 20 %",
    "student, no teacher": "I3D, no teacher",
    "student, labels alone": "I3D",
    "student, labels + L_direct": "I3D + L_direct",
    "student, labels + L_d": "I3D + L_d",
}
# The file of each column of the README's table, and what it calls the teacher's row.
_README = {
    "demo": "teacher, future clip",
    "silhouettes-25": "teacher, whole clip",
    "ceiling_actions-25": "teacher, future clip",
    "thetis-25": "teacher, whole clip",
}
# The file of each line of the table of losses, and the row of each column.
_LOSSES = (
    *("silhouettes-25", "thetis-10", "thetis-25", "thetis-50", "thetis-100"),
    *("silhouettes", "ut_interaction-50-50", "ut_interaction-20-50"),
)
_COLUMNS = {
    "no teacher": "student, no teacher",
    "labels alone": "student, labels alone",
    "pseudo-labels": "student, pseudo-labels",
    "L_direct": "student, pseudo-labels + L_direct",
    "L_d": "student, pseudo-labels + L_d",
}
# Percentages have one decimal, and losses two.
_ROUNDING, _LOSS_ROUNDING = 0.0501, 0.00501


@pytest.mark.parametrize("name", _TABLES)
def test_tables_have_the_numbers_of_their_files(name):
    page, corner = _TABLES[name]
    rows, _ = _results(name)
    compared = 0
    header, *lines = _table(_text(page), corner)
    for title, *cells in lines:
        if title not in rows and title not in _PAPER:
            continue
        row = _row(rows, title)
        compared += 1
        seeds = []
        for column, cell in zip(header[1:], cells, strict=True):
            found = _numbers(cell)
            if column.isdigit() or column.startswith("seed"):
                seeds += found
            elif cell:
                key = "gain" if "over" in column else "mean"
                expected = _interval(row[key])[: len(found)]
                assert found == pytest.approx(expected, abs=_ROUNDING)
        if seeds:
            assert seeds == pytest.approx(row["by_seed"], abs=_ROUNDING)
    assert compared >= 2


@pytest.mark.parametrize("name", _README)
def test_the_readme_has_the_numbers_of_the_files(name):
    rows, seeds = _results(name)
    rows["teacher, future clip"] = rows[_README[name]]
    student = rows["student, pseudo-labels + L_d"]
    column = 1 + list(_README).index(name)
    _, *lines = _table(_text("README.md"), "data set")
    cells = {line[0]: line[column] for line in lines[3:]}
    over_labels = _numbers(cells.pop("L_d over labels alone"))
    over_no_teacher = _numbers(cells.pop("L_d over no teacher"))
    for title, cell in cells.items():
        assert _numbers(cell) == pytest.approx(
            [rows[title]["mean"]["mean"]], abs=_ROUNDING
        )
    assert over_labels == pytest.approx(_interval(student["gain"]), abs=_ROUNDING)
    no_teacher = rows["student, no teacher"]["mean"]["mean"]
    gain = student["mean"]["mean"] - no_teacher
    assert over_no_teacher[0] == pytest.approx(gain, abs=_ROUNDING)
    assert lines[2][column].endswith(f", {len(seeds)}")


@pytest.mark.parametrize("name", _LOSSES)
def test_the_losses_of_all_data_sets_are_those_of_their_files(name):
    rows, seeds = _results(name)
    header, *lines = _table(_text("docs/results.md"), "labeled pairs")
    line = lines[_LOSSES.index(name)]
    assert len(lines) == len(_LOSSES) and line[1] == str(len(seeds))
    for column, cell in zip(header[2:7], line[2:7], strict=True):
        if cell:
            row = _row(rows, _COLUMNS[column])
            expected = [row["scaled_loss"]["mean"]]
            assert _numbers(cell) == pytest.approx(expected, abs=_LOSS_ROUNDING)
    expected = _interval(_row(rows, _COLUMNS["L_d"])["scaled_loss_difference"])
    assert _numbers(line[7]) == pytest.approx(expected, abs=_LOSS_ROUNDING)


def test_the_losses_of_silhouettes_are_those_of_their_file():
    rows, _ = _results("silhouettes-25")
    _, *lines = _table(_text("docs/results-silhouettes.md"), "student")
    for title, loss, scaled, difference in lines:
        row = _row(rows, f"student, {title}")
        for cell, key in ((loss, "loss"), (scaled, "scaled_loss")):
            expected = [row[key]["mean"]]
            assert _numbers(cell) == pytest.approx(expected, abs=_LOSS_ROUNDING)
        if difference:
            expected = _interval(row["scaled_loss_difference"])
            assert _numbers(difference) == pytest.approx(expected, abs=_LOSS_ROUNDING)
    assert len(lines) == 8


def _text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def _row(rows, title):
    """Returns the row with a title. silhouettes.json uses the titles of the paper."""
    paper = _PAPER.get(title.replace("pseudo-labels +", "labels +"))
    return rows.get(title) or rows[paper]


def _results(name):
    """Returns the rows of a file of results, by title, and its seeds."""
    results = json.loads(_text(f"results/{name}.json"))
    return {row["row"]["title"]: row for row in results["rows"]}, results["seeds"]


def _interval(of):
    return [of[part] for part in ("mean", "low", "high")]


def _numbers(cell):
    return [float(number) for number in re.findall(r"-?\d+\.\d+", cell)]


def _table(text, corner):
    """Returns the cells of the header and of each row of the table with this corner."""
    lines = iter(text.splitlines())
    start = f"| {corner} |"
    first = next(line for line in lines if line.startswith(start))
    next(lines)
    found = [first]
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(line)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in found]
