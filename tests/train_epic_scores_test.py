"""The scores of EPIC-KITCHENS, against loops over examples."""

import pathlib
import types

import numpy as np
import pytest

from kd_keras.data.segments import Clip, Pair
from train import epic_scores

CLASSES = tuple(
    f"{verb} {noun}"
    for verb in ["take", "put", "cut", "peel"]
    for noun in ["cup", "fig"]
)
LISTS = {
    "EPIC_100_verb_classes.csv": "id,key\n0,take\n1,put\n2,cut\n3,peel\n",
    "EPIC_100_noun_classes.csv": "id,key\n0,cup\n1,fig\n",
    "EPIC_100_tail_verbs.csv": "verb\n3\n2\n",
    "EPIC_100_tail_nouns.csv": "noun\n1\n",
    "EPIC_100_unseen_participant_ids_validation.csv": "participant_id\nP18\n",
}


@pytest.fixture
def options(tmp_path):
    for name, text in LISTS.items():
        pathlib.Path(tmp_path, name).write_text(text)
    return types.SimpleNamespace(
        dataset="epic_kitchens_100", epic_target="action", data_root=str(tmp_path)
    )


@pytest.fixture(scope="module")
def answers():
    """Pairs of two participants, and logits that know the labels a little."""
    random = np.random.default_rng(0)
    labels = random.integers(len(CLASSES), size=60)
    logits = random.normal(size=(60, len(CLASSES)))
    logits[np.arange(60), labels] += 0.5
    clips = [Clip(f"P{17 + i % 2}_01", 1.0, 2.0) for i in range(60)]
    pairs = [Pair(c, c, int(n)) for c, n in zip(clips, labels, strict=True)]
    return pairs, logits.astype("float32")


def recall(names, values, labels, keep=lambda i, name: True, k=5):
    """By loops: the mean over classes of how often one is among the k highest."""
    found = {}
    for i, label in enumerate(labels):
        if keep(i, names[label]):
            best = sorted(range(len(names)), key=lambda c: -values[i][c])[:k]
            found.setdefault(label, []).append(label in best)
    return np.mean([np.mean(hits) for hits in found.values()])


def test_recalls_of_actions_and_their_marginals(options, answers):
    pairs, logits = answers
    scores = epic_scores.scorer(options, CLASSES)(pairs, logits)
    labels = [pair.label for pair in pairs]

    def is_tail(i, name):
        return bool({*name.split()} & {"cut", "peel", "fig"})

    def is_unseen(i, name):
        return pairs[i].future.video == "P18_01"

    everything = recall(CLASSES, logits, labels)
    assert scores["mean_top5_recall"] == pytest.approx(everything)
    assert 0.6 < everything < 1
    for name, keep in (("tail", is_tail), ("unseen", is_unseen)):
        expected = recall(CLASSES, logits, labels, keep)
        assert scores[name] == {"mean_top5_recall": pytest.approx(expected)}, name
        assert expected != everything
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for kind, place, names in (
        ("verb", 0, "take put cut peel"),
        ("noun", 1, "cup fig"),
    ):
        names = names.split()
        words = [CLASSES[label].split()[place] for label in labels]
        sums = np.array(
            [
                [
                    sum(p[c] for c, t in enumerate(CLASSES) if t.split()[place] == name)
                    for name in names
                ]
                for p in probabilities
            ]
        )
        own = [names.index(word) for word in words]
        best = sums.argmax(1)
        assert scores[kind]["top1"] == pytest.approx(np.mean(best == own))
        assert scores[kind]["mean_top5_recall"] == 1
        assert set(scores[kind]) >= {"top5", "class_mean_recall", "tail", "unseen"}
    assert "many_shot" not in scores


def test_the_text_for_people(options, answers):
    scores = epic_scores.scorer(options, CLASSES)(*answers)
    text = epic_scores.lines({"top1": 0.25, "top5": 0.5} | scores)
    assert [line.split()[0] for line in text] == ["student:", "verb", "noun", "action"]
    tail = f"tail {100 * scores['tail']['mean_top5_recall']:.1f}"
    assert "  25.0    50.0" in text[-1] and tail in text[-1]
    assert epic_scores.lines({"top1": 0.25}) == []


def test_other_targets_data_sets_and_missing_lists(options, answers, capsys):
    pairs, logits = answers
    options.epic_target = "verb"
    verbs = epic_scores.scorer(options, ["take", "put", "cut", "peel", *"abcd"])
    scores = verbs(pairs, logits)
    assert set(scores) == {"mean_top5_recall", "unseen", "tail"}
    options.data_root = None
    scores = epic_scores.scorer(options, CLASSES)(pairs, logits)
    assert set(scores) == {"mean_top5_recall"}
    assert "Recall is not reported by subset: Found no" in capsys.readouterr().err
    options.dataset = "csv"
    assert epic_scores.scorer(options, CLASSES)(pairs, logits) == {}
