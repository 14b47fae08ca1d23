"""Labels and scores that do not fit are refused by everything that compares them."""

import numpy as np
import pytest

from kd_keras import metrics, statistics

MEASURES = (
    metrics.confusion_matrix,
    metrics.classification_scores,
    metrics.log_losses,
    metrics.mean_topk_recall,
    statistics.reliability,
    statistics.expected_calibration_error,
    statistics.fit_temperature,
    statistics.probability_losses,
    statistics.pseudo_label_quality,
    lambda labels, scores: statistics.cross_fitted(labels, scores, [0, 0, 1]),
)
SCORES = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])


@pytest.mark.parametrize("measure", MEASURES)
def test_a_column_of_labels_is_as_good_as_a_row(measure):
    labels = np.array([0, 1, 1])
    np.testing.assert_equal(measure(labels[:, None], SCORES), measure(labels, SCORES))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1], SCORES, r"Got labels of the shape \(1,\) and"),
        (np.eye(3, dtype=int), SCORES, r"Got labels of the shape \(3, 3\)"),
        ([0, 1, 1], SCORES[0], r"of the shape \(3,\)\.$"),
        ([0, 1, 3], SCORES, "from 0 to 2, as the .* have 3 classes. Got 0 to 3"),
        ([-1, 1, 2], SCORES, "Got -1 to 2"),
        ([0.0, 1.0, 1.0], SCORES, "must be class indices. Got float64 numbers"),
    ],
)
def test_labels_that_are_no_indices_of_the_rows_are_refused(
    measure, labels, scores, message
):
    with pytest.raises(ValueError, match=message):
        measure(labels, scores)


def test_an_error_is_of_at_least_one_example():
    with pytest.raises(ValueError, match="at least one example. Got none"):
        statistics.expected_calibration_error([], np.zeros((0, 3)))
