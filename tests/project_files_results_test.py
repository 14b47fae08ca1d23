"""The tables of the documentation have the numbers of the files in results."""

import csv
import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs import draw_results

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
    "silhouettes-flow": ("docs/results-silhouettes.md", "flow"),
    "silhouettes-both": ("docs/results-silhouettes.md", "RGB and flow"),
    "silhouettes-25": ("docs/results-silhouettes.md", "three splits, 165 labels"),
    "ut_interaction-20-50": ("docs/results.md", "120 clips, half of the labels"),
    "ut_interaction-50-50": ("docs/results.md", "120 clips, the first half is seen"),
    "ut_interaction-20-100": ("docs/results.md", "all labels, the first 20 % is seen"),
    "ut_interaction-50-100": ("docs/results.md", "all labels, the first half is seen"),
    "ceiling_actions-25": ("docs/results.md", "288 clips, a quarter of the labels"),
    "ceiling_actions-50": ("docs/results.md", "288 clips, half of the labels"),
}
# What rows are called in silhouettes.json, as in Table 1 of the paper.
_PAPER = {
    "teacher, first 20 %": "recognition, first 20 %",
    "student, no teacher": "I3D, no teacher",
    "student, labels alone": "I3D",
    "student, labels + L_direct": "I3D + L_direct",
    "student, labels + L_d, student attends": "I3D + L_d, student attends",
    "student, labels + L_d, teacher attends": "I3D + L_d, teacher attends",
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
    *("silhouettes", "ceiling_actions-50"),
    *("ut_interaction-50-50", "ut_interaction-20-50"),
)
_COLUMNS = {
    "no teacher": "student, no teacher",
    "labels alone": "student, labels alone",
    "pseudo-labels": "student, pseudo-labels",
    "L_direct": "student, pseudo-labels + L_direct",
    "L_d": "student, pseudo-labels + L_d",
}
_L_D = _COLUMNS["L_d"]
# What the text of a page says of a difference: the phrase, the file, the row that has
# more, and the row that has less.
_CLAIMS = "tests/claimed_differences.csv"
# Percentages have one decimal, and losses two.
_ROUNDING, _LOSS_ROUNDING = 0.0501, 0.00501


@pytest.mark.parametrize("name", _TABLES)
def test_tables_have_the_numbers_of_their_files(name):
    page, corner = _TABLES[name]
    results = _results(name)
    rows = results.rows
    compared = 0
    header, *lines = _table(_text(page), corner)
    for title, *cells in lines:
        if title not in rows and title not in _PAPER:
            continue
        row = rows[_title(rows, title)]
        gain = results.over(title, results.baseline, "top1")
        compared += 1
        seeds = []
        for column, cell in zip(header[1:], cells, strict=True):
            found = _numbers(cell)
            if column.isdigit() or column.startswith("seed"):
                seeds += found
            elif cell:
                value = gain if "over" in column else row["mean"]
                expected = _interval(value)[: len(found)]
                assert found == pytest.approx(expected, abs=_ROUNDING)
        if seeds:
            assert seeds == pytest.approx(row["by_seed"], abs=_ROUNDING)
    assert compared >= 2


@pytest.mark.parametrize("name", _README)
def test_the_readme_has_the_numbers_of_the_files(name):
    results = _results(name)
    column = 1 + list(_README).index(name)
    _, *lines = _table(_text("README.md"), "data set")
    for title, *cells in lines[3:]:
        found = _numbers(cells[column - 1])
        if title.startswith("L_d over"):
            other = title.replace("L_d over", "student,")
            gain = results.over(_L_D, other, "top1")
            if gain is None:
                # An older file has its baseline alone.
                means = [results.rows[row]["mean"]["mean"] for row in (_L_D, other)]
                found, expected = found[:1], [means[0] - means[1]]
            else:
                expected = _interval(gain)
        else:
            row = _README[name] if title == "teacher, future clip" else title
            expected = [results.rows[row]["mean"]["mean"]]
        assert found == pytest.approx(expected, abs=_ROUNDING)
    assert lines[2][column].endswith(f", {len(results.seeds)}")


def test_differences_in_the_text_are_those_of_the_files():
    for claim in csv.DictReader(_text(_CLAIMS).splitlines()):
        phrase = claim["phrase"]
        assert " ".join(_text(claim["page"]).split()).count(phrase) == 1, phrase
        is_loss = re.search(r"\d\.\d\d", phrase)
        difference = _results(claim["results"]).over(
            claim["more"], claim["less"], "scaled_loss" if is_loss else "top1"
        )
        rounding = _LOSS_ROUNDING if is_loss else _ROUNDING
        expected = pytest.approx(_interval(difference), abs=rounding)
        assert _numbers(phrase) == expected, phrase


@pytest.mark.parametrize("name", _LOSSES)
def test_the_losses_of_all_data_sets_are_those_of_their_files(name):
    results = _results(name)
    header, *lines = _table(_text("docs/results.md"), "labeled pairs")
    line = lines[_LOSSES.index(name)]
    assert len(lines) == len(_LOSSES) and line[1] == str(len(results.seeds))
    for column, cell in zip(header[2:7], line[2:7], strict=True):
        if cell:
            row = results.rows[_title(results.rows, _COLUMNS[column])]
            expected = [row["scaled_loss"]["mean"]]
            assert _numbers(cell) == pytest.approx(expected, abs=_LOSS_ROUNDING)
    expected = _interval(results.over(_L_D, results.baseline, "scaled_loss"))
    assert _numbers(line[7]) == pytest.approx(expected, abs=_LOSS_ROUNDING)


def test_the_losses_of_silhouettes_are_those_of_their_file():
    results = _results("silhouettes-25")
    _, *lines = _table(_text("docs/results-silhouettes.md"), "student")
    for title, loss, scaled, difference in lines:
        row = results.rows[f"student, {title}"]
        for cell, key in ((loss, "loss"), (scaled, "scaled_loss")):
            expected = [row[key]["mean"]]
            assert _numbers(cell) == pytest.approx(expected, abs=_LOSS_ROUNDING)
        if difference:
            over = results.over(f"student, {title}", results.baseline, "scaled_loss")
            expected = _interval(over)
            assert _numbers(difference) == pytest.approx(expected, abs=_LOSS_ROUNDING)
    assert len(lines) == 8


def _text(path):
    return (ROOT / path).read_text(encoding="utf-8")


@dataclasses.dataclass(frozen=True)
class _Results:
    """A file of results.

    Attributes:
        rows: By title.
        seeds: Of every row.
        baseline: Title of the row that others are compared with.
    """

    rows: dict
    seeds: list
    baseline: str

    def over(self, title, other, measure):
        """Returns the interval of a row's difference to another one; None without."""
        other = _title(self.rows, other)
        differences = self.rows[_title(self.rows, title)]["over"].get(other, {})
        return differences.get(measure)


@functools.cache
def _results(name):
    content = json.loads(_text(f"results/{name}.json"))
    rows = {row["row"]["title"]: row for row in content["rows"]}
    return _Results(rows, content["seeds"], content["baseline"])


def _title(rows, title):
    """Returns what a file calls a row. Those of silhouettes use the paper's titles."""
    with_pseudo_labels = title.replace("student, labels +", "student, pseudo-labels +")
    for known in (title, with_pseudo_labels):
        if known in rows:
            return known
    return _PAPER[title.replace("pseudo-labels +", "labels +")]


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


def test_the_pictures_show_the_numbers_of_the_files(tmp_path):
    draw_results.main(tmp_path)
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn.keys() == {"results.svg", "label_fractions.svg"}
    # Clip paths are named after how NumPy writes numbers, in which versions differ.
    names = re.compile(rb"\bp[0-9a-f]{10}\b")
    for name, picture in drawn.items():
        kept = (ROOT / "docs" / name).read_bytes()
        assert names.sub(b"", kept) == names.sub(b"", picture), name


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_reproduce_trains_the_seeds_of_every_file():
    """Its commands are printed and not run; `-o` keeps make from an environment."""
    # `make test` gives its own flags to every make below it.
    outside = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    printed = subprocess.run(
        ["make", "-n", "-o", ".venv/ready", "reproduce"],
        env=outside,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    printed = printed.replace(".venv/bin/python", "echo").replace("&& cp", "&& true")
    printed = printed.replace("do cp", "do true")
    commands = subprocess.run(
        ["bash", "-c", printed], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    trained = {}
    for line in commands.splitlines():
        if line.startswith("-m train.table"):
            flagfile = re.search(r"--flagfile=(\S+)", line)[1]
            seeds = re.search(r"--seeds=(\S+)", line) or re.search(
                r"^--seeds=(\S+)", (ROOT / flagfile).read_text(), re.MULTILINE
            )
            name = re.search(r"--output=results/(\S+)", line)[1]
            trained[name] = [int(seed) for seed in seeds[1].split(",")]
    both = trained.pop("silhouettes-two-streams")
    trained |= {"silhouettes-flow": both, "silhouettes-both": both}
    found = {p.stem: json.loads(p.read_text()) for p in ROOT.glob("results/*.json")}
    assert trained == {name: values["seeds"] for name, values in found.items()}
