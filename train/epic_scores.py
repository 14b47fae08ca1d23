"""The scores that only EPIC-KITCHENS has, in addition to those of other data sets.

For each kind of class, verb, noun or action, these are the top-1 and top-5 accuracy
and the mean top-5 recall over classes: overall, on the kitchens of unseen participants,
over tail classes (EPIC-KITCHENS-100) and over many-shot classes (EPIC-KITCHENS-55).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kd_keras.data.actions import Actions
from kd_keras.data.readers import epic_subsets
from kd_keras.data.segments import Pair
from kd_keras.metrics import classification_scores, mean_topk_recall
from kd_keras.statistics import softmax
from train.flags import defaults as flag_defaults
from train.flags.data import Data
from train.loop import guards

# Scores by name, from pairs and their logits.
Scorer: TypeAlias = Callable[[Sequence[Pair], np.ndarray], dict[str, Any]]

_READERS = {
    "epic_kitchens": epic_subsets.read_many_shot,
    "epic_kitchens_100": epic_subsets.read_subsets,
}


def scorer(options: Data, classes: Sequence[str]) -> Scorer:
    """Returns a function of (pairs, logits) that gives the scores of EPIC-KITCHENS.

    It gives nothing for other data sets. Without the lists of the release, as if
    --records are trained on and the release is elsewhere, subsets are left out.

    Args:
        options: The run's `Data`.
        classes: Class names.
    """
    if options.dataset not in flag_defaults.EPIC:
        return lambda pairs, logits: {}
    return functools.partial(
        _scores, options.epic_target, tuple(classes), _subsets(options)
    )


def lines(scores: Mapping[str, Any]) -> list[str]:
    """Returns lines of text for people; none if there are no such scores."""
    if "mean_top5_recall" not in scores:
        return []
    kinds = [kind for kind in ("verb", "noun") if kind in scores]
    rows = [(kind, scores[kind]) for kind in kinds]
    rows.append(("action" if kinds else "class", scores))
    text = ["student:   top-1   top-5   mean top-5 recall (in parts of the data)"]
    for kind, own in rows:
        parts = [
            f"{name.replace('_', ' ')} {100 * own[name]['mean_top5_recall']:.1f}"
            for name in ("unseen", "tail", "many_shot")
            if name in own
        ]
        shown = f" ({', '.join(parts)})" if parts else ""
        text.append(
            f"{kind:8}  {100 * own['top1']:6.1f}  {100 * own['top5']:6.1f}  "
            f"{100 * own['mean_top5_recall']:6.1f}{shown}"
        )
    return text


def _subsets(options: Data) -> epic_subsets.Subsets:
    root = options.data_root
    try:
        return _READERS[options.dataset]("" if root is None else root)
    except ValueError as error:
        guards.warn(f"Recall is not reported by subset: {error}")
        return epic_subsets.Subsets()


def _scores(
    target: str,
    classes: Sequence[str],
    subsets: epic_subsets.Subsets,
    pairs: Sequence[Pair],
    logits: np.ndarray,
) -> dict[str, Any]:
    labels = np.array([pair.label for pair in pairs])
    is_unseen = np.array([subsets.is_unseen(pair.future.video) for pair in pairs])
    scores = _recalls(target, classes, subsets, is_unseen, labels, logits)
    if target != "action":
        return scores
    actions = Actions(classes)
    kinds = zip(
        ("verb", "noun"),
        (actions.verbs, actions.nouns),
        (actions.verb_of, actions.noun_of),
        actions.marginals(softmax(logits)),
        strict=True,
    )
    for kind, names, positions, sums in kinds:
        own = positions[labels]
        recalls = _recalls(kind, names, subsets, is_unseen, own, sums)
        scores[kind] = classification_scores(own, sums) | recalls
    return scores


def _recalls(
    kind: str,
    classes: Sequence[str],
    subsets: epic_subsets.Subsets,
    is_unseen: np.ndarray,
    labels: np.ndarray,
    values: np.ndarray,
) -> dict[str, Any]:
    found = {"mean_top5_recall": mean_topk_recall(labels, values)}
    parts = {
        "unseen": mean_topk_recall(labels[is_unseen], values[is_unseen]),
        "tail": mean_topk_recall(
            labels, values, classes=subsets.tail_classes(kind, classes)
        ),
        "many_shot": mean_topk_recall(
            labels, values, classes=subsets.many_shot_classes(kind, classes)
        ),
    }
    return found | {
        name: {"mean_top5_recall": recall}
        for name, recall in parts.items()
        if recall is not None
    }
