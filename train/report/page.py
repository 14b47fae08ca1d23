"""Puts the sections of all runs into one page that needs nothing else."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jinja2

from train.report import scores
from train.report.section import Section
from train.written import write_text

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
_EXAMPLES = {
    "best": "Best clips",
    "worst": "Worst clips",
    "won": "Clips that distillation won",
}


def write(path: pathlib.Path, sections: Sequence[Section], command: str) -> None:
    """Writes the page at once or not at all.

    Args:
        path: HTML file to write.
        sections: The `Section` of each run.
        command: What made the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    names = [section.name for section in sections]
    text = environment.get_template("page.html").render(
        title=f"Report: {', '.join(names)}",
        command=command,
        runs=sections,
        comparison=_comparison(sections),
        example_titles=_EXAMPLES,
    )
    write_text(path, text)


def _comparison(sections: Sequence[Section]) -> dict[str, Any] | None:
    """What is shown of all runs together; None if fewer than two have predictions."""
    known = [
        (section.name, section.predictions)
        for section in sections
        if section.predictions is not None
    ]
    if len(known) < 2:
        return None
    names, predictions = zip(*known, strict=True)
    same = all(predictions[0].has_clips_of(other) for other in predictions)
    text = (
        f"All evaluate the same {len(predictions[0].labels)} clips. The intervals draw "
        "runs and videos, or groups of videos, anew."
        if same
        else "They do not evaluate the same clips, so there is neither a mean, a "
        "deviation nor a paired difference."
    )
    if same and any(section.num_clusters == 1 for section in sections):
        text += " As these are of one video or group, there are no intervals."
    return {
        "names": list(names),
        "rows": scores.compare(predictions),
        "text": text,
    }
