"""The subsets on which EPIC-KITCHENS reports recall: of kitchens and of classes."""

import dataclasses
import os
import pathlib
from collections.abc import Collection

from kd_keras.data.actions import action_name
from kd_keras.data.csv_table import read_table
from kd_keras.data.readers import epic_annotations, epic_kitchens, epic_kitchens_100

_UNSEEN = "EPIC_100_unseen_participant_ids_validation.csv"
_TAIL = {"verb": "EPIC_100_tail_verbs.csv", "noun": "EPIC_100_tail_nouns.csv"}
_MANY_SHOT = {
    "verb": "EPIC_many_shot_verbs.csv",
    "noun": "EPIC_many_shot_nouns.csv",
    "action": "EPIC_many_shot_actions.csv",
}


@dataclasses.dataclass(frozen=True)
class Subsets:
    """Which segments and classes the releases report on by themselves.

    Attributes:
        unseen_participants: Their validation kitchens are in no training video.
        tail: Names of the rare verbs and nouns, by `verb` and `noun`. An action is
            rare if its verb or its noun is.
        many_shot: Names of the frequent classes, by `verb`, `noun` and `action`.
    """

    unseen_participants: frozenset[str] = frozenset()
    tail: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    many_shot: dict[str, frozenset[str]] = dataclasses.field(default_factory=dict)

    def is_unseen(self, video: str) -> bool:
        """Returns whether a video is of an unseen participant."""
        return video.partition("_")[0] in self.unseen_participants

    def tail_classes(self, kind: str, classes: Collection[str]) -> list[int]:
        """Returns the positions of the rare ones among the classes of a kind."""
        return [
            place for place, name in enumerate(classes) if self._in_tail(kind, name)
        ]

    def many_shot_classes(self, kind: str, classes: Collection[str]) -> list[int]:
        """Returns the positions of the frequent ones among the classes of a kind."""
        names = self.many_shot.get(kind, ())
        return [place for place, name in enumerate(classes) if name in names]

    def _in_tail(self, kind, name):
        if kind != "action":
            return name in self.tail.get(kind, ())
        verb, noun = name.split(" ")
        return self._in_tail("verb", verb) or self._in_tail("noun", noun)


def read_subsets(data_root: str | os.PathLike) -> Subsets:
    """Reads the lists beside the annotations of EPIC-KITCHENS-100.

    Raises:
        ValueError: If a list is missing or holds something else.
    """
    release = epic_kitchens_100.RELEASE
    folder = epic_annotations.find_folder(pathlib.Path(data_root), release, _UNSEEN)
    names = _names(folder, release)
    participants = read_table(
        folder / _UNSEEN, ("participant_id",), lambda _, row: row["participant_id"]
    )
    return Subsets(
        unseen_participants=frozenset(participants),
        tail={
            kind: frozenset(_named(folder / file, kind, names[kind]))
            for kind, file in _TAIL.items()
        },
    )


def read_many_shot(data_root: str | os.PathLike) -> Subsets:
    """Reads the lists of frequent classes of EPIC-KITCHENS-55.

    Raises:
        ValueError: If a list is missing or holds something else.
    """
    release = epic_kitchens.RELEASE
    folder = epic_annotations.find_folder(
        pathlib.Path(data_root), release, _MANY_SHOT["action"]
    )
    names = _names(folder, release)
    many_shot = {
        kind: frozenset(_named(folder / _MANY_SHOT[kind], f"{kind}_class", names[kind]))
        for kind in ("verb", "noun")
    }
    verbs, nouns = (
        _named(folder / _MANY_SHOT["action"], f"{kind}_class", names[kind])
        for kind in ("verb", "noun")
    )
    many_shot["action"] = frozenset(map(action_name, verbs, nouns))
    return Subsets(many_shot=many_shot)


def _names(folder, release):
    return epic_annotations.read_vocabulary(folder, release, "action").names


def _named(path, column, names):
    """The names of the classes whose numbers are in a column of a list."""
    numbers = epic_annotations.read_numbers(path, column, len(names))
    return [names[number] for number in numbers]
