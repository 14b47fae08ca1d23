"""The lists of subsets that EPIC-KITCHENS has, from the releases' real files."""

import csv
import pathlib

import pytest

from kd_keras.data.readers.epic_kitchens import read_epic_kitchens
from kd_keras.data.readers.epic_subsets import Subsets, read_many_shot, read_subsets

DATA = (pathlib.Path(__file__).parents[2] / "shared/data").resolve()
needs_shared = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")


def rows(file):
    with (DATA / file).open(newline="", encoding="utf-8-sig") as lines:
        return list(csv.DictReader(lines))


@needs_shared
def test_unseen_participants_and_tail_classes_of_the_release():
    subsets = read_subsets(DATA / "epic_kitchens_100")
    val = rows("epic_kitchens_100/EPIC_100_validation.csv")
    assert subsets.unseen_participants == {"P18", "P32"}
    assert sum(subsets.is_unseen(row["video_id"]) for row in val) == 1065
    names = {}
    for kind, number in (("verb", 86), ("noun", 228)):
        classes = rows(f"epic_kitchens_100/EPIC_100_{kind}_classes.csv")
        names[kind] = [row["key"] for row in classes]
        assert len(subsets.tail[kind]) == number
        listed = rows(f"epic_kitchens_100/EPIC_100_tail_{kind}s.csv")
        numbers = {int(row[kind]) for row in listed}
        assert set(subsets.tail_classes(kind, names[kind])) == numbers
    segments = {
        kind: sum(
            names[kind][int(r[f"{kind}_class"])] in subsets.tail[kind] for r in val
        )
        for kind in names
    }
    assert segments == {"verb": 1760, "noun": 1900}
    actions = [
        " ".join(names[kind][int(row[f"{kind}_class"])] for kind in ("verb", "noun"))
        for row in val
    ]
    assert len(subsets.tail_classes("action", actions)) == 3105


@needs_shared
def test_many_shot_classes_of_the_release(tmp_path):
    (tmp_path / "annotations").symlink_to(DATA / "epic_kitchens_55")
    subsets = read_many_shot(tmp_path)
    numbers = {kind: len(names) for kind, names in subsets.many_shot.items()}
    assert numbers == {"verb": 26, "noun": 71, "action": 819}
    assert "turn-on top" in subsets.many_shot["action"]
    for video in {row["video_id"] for row in _labels()}:
        (tmp_path / f"{video}.tar").write_text("x")
    actions = read_epic_kitchens(tmp_path, target="action").classes
    assert len(subsets.many_shot_classes("action", actions)) == 819


def _labels():
    return rows("epic_kitchens_55/EPIC_train_action_labels.csv")


def test_an_action_is_rare_if_its_verb_or_its_noun_is():
    tail = {"verb": frozenset({"peel"}), "noun": frozenset({"fig"})}
    subsets = Subsets(frozenset({"P18"}), tail)
    actions = ["cut bread", "peel bread", "cut fig", "peel fig"]
    assert subsets.tail_classes("action", actions) == [1, 2, 3]
    assert subsets.tail_classes("verb", ["cut", "peel"]) == [1]
    assert subsets.many_shot_classes("verb", ["cut", "peel"]) == []
    assert subsets.is_unseen("P18_01") and not subsets.is_unseen("P180_01")


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(ValueError, match="Found no EPIC_100_unseen_participant_ids"):
        read_subsets(tmp_path)
    with pytest.raises(
        ValueError, match=r"Found no EPIC_many_shot_actions.csv of EPIC"
    ):
        read_many_shot(tmp_path)
