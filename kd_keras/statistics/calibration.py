"""Calibration: how far confidence is from accuracy, and one temperature against it.

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.
"""

import dataclasses

import numpy as np

from kd_keras.labeled_scores import labeled_scores

# Temperatures that `fit_temperature` chooses from.
_LOWEST, _HIGHEST = 0.01, 100.0
# Of a probability, so that its logarithm is a number.
_SMALLEST = np.finfo(np.float64).tiny


@dataclasses.dataclass(frozen=True)
class Bin:
    """The examples whose confidence lies in an interval (low, high].

    Attributes:
        confidence: Mean probability of the predicted class; NaN if there is no example.
        accuracy: Fraction that is right; NaN if there is no example.
        count: Number of examples.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


def softmax(logits, temperature=1.0):
    """Returns the probabilities of logits (examples, classes), as float64.

    Examples:
        >>> from kd_keras.statistics import softmax
        >>> softmax([[0.0, 0.0]]).tolist()
        [[0.5, 0.5]]
    """
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def reliability(labels, probabilities, bins=15):
    """Returns the `Bin`s of a reliability diagram, of equal width.

    Args:
        labels: Class indices (examples,).
        probabilities: (examples, classes).
        bins: Number of bins.
    Examples:
        >>> from kd_keras.statistics import reliability
        >>> low, high = reliability([0, 0], [[0.8, 0.2], [0.1, 0.9]], bins=2)
        >>> low.count, high.count, high.accuracy, round(high.confidence, 3)
        (0, 2, 0.5, 0.85)
    """
    labels, probabilities = labeled_scores(
        labels, np.asarray(probabilities, np.float64), "probabilities"
    )
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    # Rounding may lift a probability a little above 1.
    places = np.clip(np.searchsorted(edges, confidence, "left") - 1, 0, bins - 1)
    found = []
    for number in range(bins):
        inside = places == number
        some = inside.any()
        found.append(
            Bin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                confidence=float(confidence[inside].mean()) if some else np.nan,
                accuracy=float(hits[inside].mean()) if some else np.nan,
                count=int(inside.sum()),
            )
        )
    return found


def expected_calibration_error(labels, probabilities, bins=15):
    """Returns the ECE in [0, 1]: the mean gap of confidence and accuracy over examples.

    Args:
        labels: Class indices (examples,), at least one.
        probabilities: (examples, classes).
        bins: Number of bins of equal width.
    Examples:
        Half are right, at a confidence of 0.85.

        >>> from kd_keras.statistics import expected_calibration_error
        >>> error = expected_calibration_error([0, 0], [[0.8, 0.2], [0.1, 0.9]], bins=2)
        >>> round(error, 3)
        0.35
    """
    found = [b for b in reliability(labels, probabilities, bins) if b.count]
    if not found:
        raise ValueError("An error is of at least one example. Got none.")
    total = sum(b.count for b in found)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in found) / total


def fit_temperature(labels, logits):
    """Returns the temperature that gives the labels the highest likelihood.

    The logits are to be divided by it. The likelihood has one maximum in 1/temperature.
    The result lies in [0.01, 100], also if every label is predicted or none is.

    Args:
        labels: Class indices (examples,), at least one.
        logits: (examples, classes); -inf for a class that cannot be. An example whose
            own class cannot be says nothing of the temperature.
    Raises:
        ValueError: If there is no example, or the highest logit of one is not finite.
    Examples:
        Three of four are right, and two classes with a probability of 3/4 differ by
        log 3: the logits are twice as large as they should be.

        >>> import numpy as np
        >>> from kd_keras.statistics import fit_temperature
        >>> logits = np.full((4, 1), 2 * np.log(3)) * [1, 0]
        >>> round(fit_temperature([0, 0, 0, 1], logits), 6)
        2.0
    """
    labels, logits = labeled_scores(labels, np.asarray(logits, np.float64), "logits")
    if not len(labels):
        raise ValueError("A temperature is fitted on at least one example. Got none.")
    highest = logits.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise ValueError(
            "Logits must be numbers, or -inf for some of the classes of an example. "
            f"Got {np.sum(~np.isfinite(highest))} examples with NaN, inf or -inf alone."
        )
    own = logits[np.arange(len(labels)), labels]
    possible = np.isfinite(own)
    logits, own, highest = logits[possible], own[possible], highest[possible]
    # Of a probability of 0, for which 0 · (-inf) would be NaN.
    finite = np.where(np.isneginf(logits), highest, logits)

    def slope(inverse):
        """The derivative of the negative log-likelihood by 1/temperature; it rises."""
        expected = np.sum(softmax(logits, 1 / inverse) * finite, axis=1)
        return float(np.mean(expected - own))

    low, high = np.log(1 / _HIGHEST), np.log(1 / _LOWEST)
    if not np.ptp(finite, axis=1).any():
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(np.exp(middle)) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def cross_fitted(labels, logits, groups, folds=5, seed=0):
    """Returns probabilities by temperatures that saw none of the examples they scale.

    The groups are dealt into folds. The temperature of a fold is fitted on the other
    folds.

    Args:
        labels: Class indices (examples,).
        logits: (examples, classes).
        groups: What each example belongs to, such as its video, (examples,).
        folds: Number of folds; fewer if there are fewer groups.
        seed: Of the dealing.
    Returns:
        The probabilities (examples, classes), and the temperature of each fold. No
        temperature is fitted on examples of NaN logits, whose probabilities are NaN.
        With one group there is nothing to fit on: the temperature is 1.
    Examples:
        >>> import numpy as np
        >>> from kd_keras.statistics import cross_fitted
        >>> logits = np.full((8, 1), 2 * np.log(3)) * [1, 0]
        >>> labels = [0, 0, 0, 1, 0, 0, 0, 1]
        >>> scaled, temperatures = cross_fitted(labels, logits, [0] * 4 + [1] * 4)
        >>> [round(t, 6) for t in temperatures], round(float(scaled[0, 0]), 6)
        ([2.0, 2.0], 0.75)
    """
    labels, logits = labeled_scores(labels, np.asarray(logits, np.float64), "logits")
    names, places = np.unique(np.asarray(groups), return_inverse=True)
    folds = min(folds, len(names))
    if folds < 2:
        return softmax(logits), [1.0]
    known = np.isfinite(logits.max(axis=1))
    dealt = np.random.default_rng(seed).permutation(len(names)) % folds
    probabilities, temperatures = np.empty_like(logits), []
    for fold in range(folds):
        own = dealt[places] == fold
        others = ~own & known
        temperatures.append(
            fit_temperature(labels[others], logits[others]) if others.any() else 1.0
        )
        probabilities[own] = softmax(logits[own], temperatures[-1])
    return probabilities, temperatures


def cross_fitted_losses(labels, logits, groups, folds=5, seed=0):
    """Returns -log p(true class) of each example, by probabilities of `cross_fitted`.

    A network that is too confident has a high loss, even if it is right more often than
    another. After scaling, the losses of two networks compare what they know.

    Args:
        labels, logits, groups, folds, seed: As in `cross_fitted`.
    Returns:
        The losses (examples,), in nats. None is infinite.
    Examples:
        Both groups are three times right and once wrong, so p is 3/4 or 1/4.

        >>> import numpy as np
        >>> from kd_keras.statistics import cross_fitted_losses
        >>> logits = np.full((8, 1), 2 * np.log(3)) * [1, 0]
        >>> labels = [0, 0, 0, 1, 0, 0, 0, 1]
        >>> losses = cross_fitted_losses(labels, logits, [0] * 4 + [1] * 4)
        >>> [round(float(p), 6) for p in np.exp(-losses[:4])]
        [0.75, 0.75, 0.75, 0.25]
    """
    probabilities, _ = cross_fitted(labels, logits, groups, folds, seed)
    return probability_losses(labels, probabilities)


def probability_losses(labels, probabilities):
    """Returns -log p(true class) of each example (examples,), in nats; none infinite.

    Args:
        labels: Class indices (examples,).
        probabilities: Of each class, (examples, classes), in [0, 1].
    Examples:
        >>> from kd_keras.statistics import probability_losses
        >>> losses = probability_losses([0, 1], [[0.5, 0.5], [0.75, 0.25]])
        >>> [round(float(loss), 3) for loss in losses]
        [0.693, 1.386]
    """
    labels, probabilities = labeled_scores(
        labels, np.asarray(probabilities, np.float64), "probabilities"
    )
    own = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(own, _SMALLEST))
