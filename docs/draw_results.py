"""Draws the pictures of the results.

python -m docs.draw_results

docs/results.svg shows the table of the demo, and docs/label_fractions.svg the tables of
THETIS, one for each fraction of labels. The tables are in results.
"""

import json
import pathlib

import matplotlib
from matplotlib import pyplot as plt

_ROOT = pathlib.Path(__file__).parents[1]
_COLORS = {"student": "#1b6e3c", "teacher": "#3a6ea5"}
# The labeled strokes of THETIS in a fold of each of its tables.
_LABELS = {"thetis-10": 158, "thetis-25": 396, "thetis-50": 792, "thetis-100": 1584}
# How the rows of these tables are drawn: color (Okabe and Ito, 2008) and marker.
_STYLES = {
    "teacher, whole clip": ("#000000", "x"),
    "student, no teacher": ("#56b4e9", "v"),
    "student, labels alone": ("#0072b2", "o"),
    "student, pseudo-labels": ("#e69f00", "s"),
    "student, pseudo-labels + L_direct": ("#cc79a7", "^"),
    "student, pseudo-labels + L_d": ("#009e73", "D"),
}


def draw(table, path):
    """Draws a bar for the mean of each row of a table, and a dot for each seed."""
    titles = [row["row"]["title"] for row in table["rows"]]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(titles) + 0.8))
    for place, row in enumerate(table["rows"]):
        values, mean = row["by_seed"], row["mean"]["mean"]
        color = _COLORS.get(titles[place].split(",")[0], "#8a8a8a")
        axes.barh(place, mean, color=color, height=0.65)
        axes.scatter(values, [place] * len(values), s=14, color="black", zorder=3)
        axes.text(max(mean, *values) + 1.5, place, f"{mean:.1f}", va="center")
    axes.set_yticks(range(len(titles)), titles)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("top-1 in percent; dots are seeds")
    _save(figure, axes, path)


def draw_fractions(tables, path):
    """Draws a curve over the number of labels for each row, with its interval.

    Args:
        tables: {number of labels: content of a table's JSON}.
        path: Where the picture goes.
    """
    figure, axes = plt.subplots(figsize=(8, 4.2))
    places = range(len(tables))
    for number, (title, (color, marker)) in enumerate(_STYLES.items()):
        means = [_mean(table, title) for table in tables.values()]
        values = [mean["mean"] for mean in means]
        reach = [
            [mean["mean"] - mean["low"] for mean in means],
            [mean["high"] - mean["mean"] for mean in means],
        ]
        # Side by side, so that no interval hides another.
        shift = 0.05 * (number - len(_STYLES) // 2)
        axes.errorbar(
            [place + shift for place in places],
            values,
            reach,
            color=color,
            marker=marker,
            capsize=2,
            label=title,
        )
    axes.set_xticks(places, tables)
    axes.set_xlabel("labeled strokes in a fold")
    axes.set_ylabel("top-1 in percent, with its 95 % interval")
    axes.set_ylim(0)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, axes, path)


def _table(name):
    return json.loads((_ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))


def _mean(table, title):
    return next(row["mean"] for row in table["rows"] if row["row"]["title"] == title)


def _save(figure, axes, path):
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main(folder=_ROOT / "docs"):
    """Draws both pictures."""
    tables = {labels: _table(name) for name, labels in _LABELS.items()}
    # Text stays text, and the same table gives the same file.
    style = {"svg.fonttype": "none", "svg.hashsalt": "results"}
    with matplotlib.rc_context(style):
        draw(_table("demo"), folder / "results.svg")
        draw_fractions(tables, folder / "label_fractions.svg")


if __name__ == "__main__":
    main()
