"""Holds whole videos out of training, to choose by if there is no validation part."""

import collections
import dataclasses
import fractions
import math
import random

from kd_keras.data.segments import HELD_OUT, TRAIN, Index


def hold_out(index: Index, fraction: float, seed: int = 0) -> Index:
    """Moves a fraction of the training videos into the part `held_out`.

    Groups of videos are drawn, such as the clips of one recording. A video without a
    group is drawn alone. Only videos with labels count. The others of a drawn group are
    held out with them. A group that has the last training example of a class is never
    drawn. A larger fraction with the same seed holds out all videos of a smaller one.
    The order of the annotations has no influence.

    Args:
        index: With every label.
        fraction: Of the training videos that have labels, in (0, 1); halves are rounded
            up, and at least one is taken. The last group may bring more videos.
        seed: Any integer.
    Raises:
        ValueError: If the fraction is out of range, or no video can be spared.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"holdout must be between 0 and 1. Got {fraction}.")
    labels = _training_labels(index)
    clusters = collections.defaultdict(list)
    for name in sorted(labels):
        clusters[index.videos[name].cluster].append(name)
    drawn = sorted(clusters)
    random.Random(seed).shuffle(drawn)
    wanted = fractions.Fraction(str(float(fraction))) * len(labels)
    wanted = max(1, math.floor(wanted + fractions.Fraction(1, 2)))
    # How many videos are left to train each class.
    left = collections.Counter(label for own in labels.values() for label in own)
    num_held_out, held_out = 0, set()
    for cluster in drawn:
        own = collections.Counter(
            label for name in clusters[cluster] for label in labels[name]
        )
        spared = all(left[label] > number for label, number in own.items())
        if num_held_out < wanted and spared:
            num_held_out += len(clusters[cluster])
            held_out.add(cluster)
            left.subtract(own)
    if not held_out:
        raise ValueError(
            f"None of the {len(labels)} training videos with labels can be held out: "
            "each, or its group, is the only one that shows some class. Label more "
            "videos, or cut them into several files."
        )
    return dataclasses.replace(
        index,
        videos={
            name: dataclasses.replace(video, part=HELD_OUT)
            if video.part == TRAIN and video.cluster in held_out
            else video
            for name, video in index.videos.items()
        },
    )


def _training_labels(index):
    """The classes that each training video with labels shows."""
    labels = collections.defaultdict(set)
    for segment in index.segments:
        if segment.label is not None and index.videos[segment.video].part == TRAIN:
            labels[segment.video].add(segment.label)
    return labels
