"""How good the labels are that a teacher gives."""

import numpy as np

from kd_keras.labeled_scores import labeled_scores

# Least confidences for which it is told how many pseudo-labels remain.
_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def pseudo_label_quality(labels, probabilities, thresholds=_THRESHOLDS):
    """Compares a teacher's predictions for future clips with their true labels.

    Args:
        labels: Class indices (clips,), at least one.
        probabilities: The teacher's, (clips, classes).
        thresholds: Least confidences.
    Returns:
        "accuracy" and "confidence", their means; "by_confidence": for each threshold
        the fraction of the clips that is as confident, and its accuracy (None if there
        is no such clip); "by_class": for each class the number of its clips, the
        number of clips that get its label, and "precision" and "recall" of the label
        (None if there is no such clip).
    Examples:
        >>> from kd_keras.statistics import pseudo_label_quality
        >>> quality = pseudo_label_quality([0, 1], [[0.9, 0.1], [0.6, 0.4]], (0.0, 0.8))
        >>> everything, confident = quality["by_confidence"]
        >>> everything["accuracy"], confident
        (0.5, {'at_least': 0.8, 'fraction': 0.5, 'accuracy': 1.0})
    """
    labels, probabilities = labeled_scores(labels, probabilities, "probabilities")
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    hits = predicted == labels
    by_confidence = []
    for threshold in thresholds:
        kept = confidence >= threshold
        by_confidence.append(
            {
                "at_least": threshold,
                "fraction": float(kept.mean()),
                "accuracy": _mean(hits[kept]),
            }
        )
    by_class = [
        {
            "num_clips": int(np.sum(labels == label)),
            "num_pseudo_labels": int(np.sum(predicted == label)),
            "precision": _mean(hits[predicted == label]),
            "recall": _mean(hits[labels == label]),
        }
        for label in range(probabilities.shape[1])
    ]
    return {
        "accuracy": float(hits.mean()),
        "confidence": float(confidence.mean()),
        "by_confidence": by_confidence,
        "by_class": by_class,
    }


def _mean(hits):
    return float(hits.mean()) if len(hits) else None
