"""Chooses the student that a run keeps and exports. The test part never chooses."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kd_keras.data.segments import HELD_OUT, VAL


@dataclasses.dataclass(frozen=True)
class Choice:
    """The student that a run keeps.

    Attributes:
        method: How the student was trained.
        rule: `validation`: the best on validation data. `holdout`: the best on the
            videos of --holdout. `last`: the last of --students. The best has the
            highest top-1 and, among equals, the lowest loss.
        scores: By method, on the pairs that chose; empty for `last`.
        num_pairs: Number of these pairs that could be read.
        by_evaluated: Whether they are also the evaluated pairs.
    """

    method: str
    rule: str
    scores: Mapping[str, Mapping[str, Any]]
    num_pairs: int
    by_evaluated: bool

    def __str__(self) -> str:
        best = f"the best on {self.num_pairs} clips"
        reason = {
            "validation": f"{best} of the val part",
            "holdout": f"{best} of videos held out of training",
            "last": "the last of --students: there is no validation data to choose by",
        }[self.rule]
        if self.by_evaluated:
            reason += (
                ", which are the evaluated ones. Its score on them is too high on "
                "average, because they chose it"
            )
        return f"student.keras is {self.method}, {reason}."


def choose(
    part: str | None,
    scores: Mapping[str, Mapping[str, Any]],
    num_pairs: int,
    by_evaluated: bool = False,
) -> Choice:
    """Returns the `Choice` among students.

    Args:
        part: The part that chooses, or None.
        scores: By method, in the order of --students, on that part. The values are not
            used if `part` is None.
        num_pairs: Number of pairs that were scored.
        by_evaluated: Whether the run is evaluated on that part.
    """
    if part is None:
        return Choice(list(scores)[-1], "last", {}, 0, False)

    def goodness(method: str) -> tuple[float, float]:
        # On few clips students are often right equally often.
        return scores[method]["top1"], -scores[method]["loss"]

    # `max` returns the first of equals, which is the simpler method.
    best = max(scores, key=goodness)
    rule = {VAL: "validation", HELD_OUT: "holdout"}[part]
    return Choice(best, rule, scores, num_pairs, by_evaluated)
