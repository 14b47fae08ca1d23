"""What one network gains over another, class by class."""

import numpy as np

from kd_keras.statistics.bootstrap import mean_interval


def class_gains(labels, before, after, groups=None, **options):
    """Returns the paired `Interval` of the gain in recall of each class, by its index.

    Args:
        labels: Class indices (clips,). Classes without a clip are left out.
        before, after: Predicted classes (clips,) of the two networks.
        groups: As `mean_interval` takes them, as are the other options.
    Examples:
        >>> from kd_keras.statistics import class_gains
        >>> gains = class_gains([0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 0])
        >>> [gains[label].mean for label in (0, 1)]
        [0.0, 0.5]
    """
    labels = np.asarray(labels)
    hits = np.asarray(after) == labels
    gains = hits.astype(int) - (np.asarray(before) == labels)
    groups = None if groups is None else np.asarray(groups)
    return {
        int(label): mean_interval(
            gains[labels == label],
            None if groups is None else groups[labels == label],
            **options,
        )
        for label in np.unique(labels)
    }
