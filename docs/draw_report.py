"""Draws the pictures of docs/report.md, which show parts of the page about the demo.

    make demo
    python -m docs.draw_report runs/demo

It needs Chromium (Debian: apt-get install chromium).
"""

import pathlib
import sys
import tempfile

from tests import browser
from train.report import __main__ as report

_DOCS = pathlib.Path(__file__).parent
# The first and the last element of each picture.
_PICTURES = {
    "report-scores.png": ("#run-1 h3", "#run-1 .wide"),
    "report-correspondence.png": ("#correspondence-1-1", "#correspondence-1-1"),
}
_WIDTH, _MARGIN = 1480, 12


def draw(run_dir, folder):
    """Draws the pictures of a run's page.

    Args:
        run_dir: A finished run.
        folder: Where the pictures go.
    """
    with tempfile.TemporaryDirectory() as aside:
        request = report.Request(output=f"{aside}/report.html")
        page = report.run([run_dir], request, f"python -m train.report {run_dir}")
        profile = pathlib.Path(aside, "profile")
        with browser.opened(page, profile, (_WIDTH, 900)) as shown:
            for name, (first, last) in _PICTURES.items():
                left, top, _, _ = _box(shown, first)
                _, _, right, bottom = _box(shown, last)
                size = (right - left + 2 * _MARGIN, bottom - top + 2 * _MARGIN)
                place = (left - _MARGIN, top - _MARGIN, *size)
                shown.screenshot(folder / name, place)


def _box(shown, selector):
    """Returns (left, top, right, bottom) of an element on the page, in pixels."""
    return shown.evaluate(
        f"(() => {{ const b = document.querySelector('{selector}')"
        ".getBoundingClientRect();"
        "return [b.left, b.top, b.right, b.bottom].map("
        "(x, i) => x + (i % 2 ? scrollY : scrollX)); })()"
    )


if __name__ == "__main__":
    draw(sys.argv[1], _DOCS)
