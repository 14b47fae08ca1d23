"""The files that the anticipation challenges of EPIC-KITCHENS take.

One JSON object says the version of the form (0.1 of EPIC-KITCHENS-55, 0.2 of -100),
the challenge, the levels of supervision, and for every test segment the scores of all
verbs, of all nouns, and of its best actions.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kd_keras.data.actions import Actions

CHALLENGE = "action_anticipation"
# So many actions of a segment are scored.
NUM_ACTIONS = 100
# The digits of a score that a file keeps.
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class SupervisionLevels:
    """What a network was trained with, on the Supervision Levels Scale.

    Attributes:
        pretraining: 0 is none, 1 is on labeled pictures, 2 on labeled videos.
        labels: 4 is start and end times of actions.
        data: 3 is the training part.
    """

    pretraining: int
    labels: int = 4
    data: int = 3


class ChallengeFile:
    """Makes the contents of a file from the probabilities of actions.

    Args:
        classes: Names of the actions, such as `open door`.
        verbs, nouns: Names of all verbs and nouns of the release; a number is a
            position.
        version: `0.1` or `0.2`.
        levels: The `SupervisionLevels`.
    """

    def __init__(
        self,
        classes: Sequence[str],
        verbs: Sequence[str],
        nouns: Sequence[str],
        version: str,
        levels: SupervisionLevels,
    ) -> None:
        self._actions = Actions(classes)
        self._verbs = [verbs.index(name) for name in self._actions.verbs]
        self._nouns = [nouns.index(name) for name in self._actions.nouns]
        self._num_verbs, self._num_nouns = len(verbs), len(nouns)
        self._version, self._levels = version, levels

    def content(
        self, uids: Sequence[str], probabilities: np.ndarray, unread: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Returns the object that the JSON holds.

        Args:
            uids: Of the segments whose probabilities (segments, classes) are given.
            unread: Of segments whose videos cannot be read; all their scores are 0.
        """
        probabilities = np.asarray(probabilities, np.float64)
        if len(unread):
            none = np.zeros((len(unread), probabilities.shape[1]))
            probabilities = np.concatenate([probabilities, none])
        verbs, nouns = self._actions.marginals(probabilities)
        rows = zip([*uids, *unread], probabilities, verbs, nouns, strict=True)
        return {
            "version": self._version,
            "challenge": CHALLENGE,
            "sls_pt": self._levels.pretraining,
            "sls_tl": self._levels.labels,
            "sls_td": self._levels.data,
            "results": {
                uid: {
                    "verb": _by_number(own_verbs, self._verbs, self._num_verbs),
                    "noun": _by_number(own_nouns, self._nouns, self._num_nouns),
                    "action": self._best_actions(own),
                }
                for uid, own, own_verbs, own_nouns in rows
            },
        }

    def _best_actions(self, probabilities: np.ndarray) -> dict[str, float]:
        best = np.argsort(-probabilities, kind="stable")[:NUM_ACTIONS]
        verb_of, noun_of = self._actions.verb_of, self._actions.noun_of
        return {
            f"{self._verbs[verb_of[place]]},{self._nouns[noun_of[place]]}": _rounded(
                probabilities[place]
            )
            for place in best
        }


def _by_number(
    values: np.ndarray, numbers: Sequence[int], count: int
) -> dict[str, float]:
    """Scores by the number of a class, as text; 0 of classes that no action has."""
    scores = np.zeros(count)
    scores[numbers] = values
    return {str(number): _rounded(score) for number, score in enumerate(scores)}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
