"""Class indices and scores of the same examples, checked before they are compared."""

import numpy as np


def labeled_scores(labels, scores, what="scores"):
    """Returns both as arrays.

    Args:
        labels: Class indices (examples,) or (examples, 1).
        scores: (examples, classes).
        what: What messages call the scores.
    Returns:
        The labels (examples,) and the scores.
    Raises:
        ValueError: If the shapes do not fit, or a label is no index of a class.
    Examples:
        >>> from kd_keras.labeled_scores import labeled_scores
        >>> labels, scores = labeled_scores([[1], [0]], [[0.2, 0.8], [0.6, 0.4]])
        >>> labels.tolist(), scores.shape
        ([1, 0], (2, 2))
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.shape[1:] == (1,):
        labels = labels[:, 0]
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            f"Expected one class index for each row of {what} (examples, classes). "
            f"Got labels of the shape {labels.shape} and {what} of the shape "
            f"{scores.shape}."
        )
    if not labels.size:
        return labels.astype(np.int64), scores
    if labels.dtype.kind not in "iu":
        raise ValueError(f"Labels must be class indices. Got {labels.dtype} numbers.")
    if not 0 <= labels.min() <= labels.max() < scores.shape[1]:
        raise ValueError(
            f"Labels must be class indices from 0 to {scores.shape[1] - 1}, as the "
            f"{what} have {scores.shape[1]} classes. Got {labels.min()} to "
            f"{labels.max()}."
        )
    return labels, scores
