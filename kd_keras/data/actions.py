"""Actions as pairs of a verb and a noun: their names, and sums of their scores."""

from collections.abc import Sequence

import numpy as np


def action_name(verb: str, noun: str) -> str:
    """Returns the name of the class of an action, such as `open door`.

    Raises:
        ValueError: If a name holds a blank, by which the two are told apart.
    """
    for name in (verb, noun):
        if not name or " " in name:
            raise ValueError(f"A verb or noun must be one word. Got {name!r}.")
    return f"{verb} {noun}"


class Actions:
    """The verbs and nouns of classes that `action_name` named.

    The score of a verb is the sum of the probabilities of its actions. A noun is scored
    in the same way.

    Attributes:
        verbs, nouns: Names, in the order in which the classes have them first.
        verb_of, noun_of: Positions in `verbs` and `nouns`, by class.
    Raises:
        ValueError: If a class is not the name of an action.
    Examples:
        >>> import numpy as np
        >>> from kd_keras.data.actions import Actions
        >>> actions = Actions(["open door", "close door", "open tap"])
        >>> verbs, nouns = actions.marginals(np.array([[0.5, 0.25, 0.25]]))
        >>> actions.verbs, verbs.tolist()
        (('open', 'close'), [[0.75, 0.25]])
        >>> actions.nouns, nouns.tolist()
        (('door', 'tap'), [[0.75, 0.25]])
    """

    def __init__(self, classes: Sequence[str]):
        pairs = [tuple(name.split(" ")) for name in classes]
        wrong = [n for n, pair in zip(classes, pairs, strict=True) if len(pair) != 2]
        if wrong:
            raise ValueError(
                f"An action is named by a verb, a blank and a noun. Got {wrong[0]!r}."
            )
        verbs, nouns = ([pair[place] for pair in pairs] for place in (0, 1))
        self.verbs = tuple(dict.fromkeys(verbs))
        self.nouns = tuple(dict.fromkeys(nouns))
        self.verb_of = _positions(verbs, self.verbs)
        self.noun_of = _positions(nouns, self.nouns)

    def marginals(self, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the probabilities (examples, verbs) and (examples, nouns).

        Args:
            probabilities: Of the actions, (examples, classes).
        """
        return (
            probabilities @ membership(self.verb_of, len(self.verbs)),
            probabilities @ membership(self.noun_of, len(self.nouns)),
        )


def membership(positions: np.ndarray, number: int) -> np.ndarray:
    """Returns ones where a class (row) belongs to a verb or noun (column), float32."""
    matrix = np.zeros((len(positions), number), np.float32)
    matrix[np.arange(len(positions)), positions] = 1
    return matrix


def _positions(names, order):
    places = {name: place for place, name in enumerate(order)}
    return np.array([places[name] for name in names], np.int64)
