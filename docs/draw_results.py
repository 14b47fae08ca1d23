"""Draws docs/results.svg from the table of the demo in README.md.

python docs/draw_results.py
"""

import pathlib

import matplotlib
from matplotlib import pyplot as plt

_ROOT = pathlib.Path(__file__).parents[1]
_COLORS = {"student": "#1b6e3c", "teacher": "#3a6ea5"}


def read_table(text):
    """Returns {row: (values by seed, mean)} of the table whose header begins "seed"."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    start = next(place for place, row in enumerate(cells) if row[0] == "seed")
    header, rows = cells[start], {}
    seeds = [place for place, name in enumerate(header) if name.isdigit()]
    for row in cells[start + 2 :]:
        if len(row) != len(header):
            break
        values = [float(row[place]) for place in seeds]
        rows[row[0]] = values, float(row[header.index("mean")])
    return rows


def draw(rows, path):
    """Draws a bar for the mean of each row, and a dot for each seed."""
    # Text stays text, and the same table gives the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "results"})
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(rows) + 0.8))
    for place, (name, (values, mean)) in enumerate(rows.items()):
        color = _COLORS.get(name.split(",")[0], "#8a8a8a")
        axes.barh(place, mean, color=color, height=0.65)
        axes.scatter(values, [place] * len(values), s=14, color="black", zorder=3)
        axes.text(max(mean, *values) + 1.5, place, f"{mean:.1f}", va="center")
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("top-1 in percent; dots are seeds")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    draw(read_table(readme), _ROOT / "docs" / "results.svg")
