"""Metrics against counts by hand and NumPy loops."""

import keras
import numpy as np
import pytest

from kd_keras import metrics


def _scores(seed=0, examples=50, classes=7):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes - 1, examples)  # The last class never occurs.
    return labels, random.normal(size=(examples, classes)).astype("float32")


def _recall_by_loops(labels, scores, weights):
    recalls = []
    for label in sorted(set(labels[weights > 0])):
        rows = [i for i in range(len(labels)) if labels[i] == label and weights[i]]
        recalls.append(np.mean([scores[i].argmax() == label for i in rows]))
    return np.mean(recalls)


def test_class_mean_recall_matches_loops_over_several_batches():
    labels, scores = _scores()
    weights = np.random.default_rng(1).integers(0, 2, len(labels))
    metric = metrics.ClassMeanRecall(7)
    for part in (slice(0, 20), slice(20, 50)):
        metric.update_state(labels[part], scores[part], weights[part])
    expected = _recall_by_loops(labels, scores, weights)
    np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0.0


def test_class_mean_recall_of_a_column_of_labels():
    labels, scores = _scores()
    weights = np.arange(len(labels)) % 2
    metric = metrics.ClassMeanRecall(7)
    metric.update_state(labels[:, None], scores, weights[:, None])
    expected = _recall_by_loops(labels, scores, weights)
    np.testing.assert_allclose(float(metric.result()), expected, rtol=1e-6)


def test_class_mean_recall_comes_back_from_its_config():
    metric = metrics.ClassMeanRecall(7, name="recall")
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.get_config() == metric.get_config()


def test_classification_scores_matches_keras():
    labels, scores = _scores(seed=2)
    summary = metrics.classification_scores(labels, scores)
    for k in (1, 5):
        expected = keras.metrics.sparse_top_k_categorical_accuracy(labels, scores, k)
        assert summary[f"top{k}"] == pytest.approx(float(np.mean(expected)))
    expected = _recall_by_loops(labels, scores, np.ones(50))
    assert summary["class_mean_recall"] == pytest.approx(expected)


def test_a_network_that_says_the_same_of_all_classes_recognizes_nothing():
    summary = metrics.classification_scores([0, 1], np.zeros((2, 6)))
    assert summary == {"top1": 0.0, "top5": 0.0, "class_mean_recall": 0.0}


def test_a_network_that_says_nan_recognizes_nothing():
    scores = np.eye(6)[[0, 1, 2]]
    scores[0] = scores[1, 5] = np.nan
    summary = metrics.classification_scores([0, 1, 2], scores)
    assert summary["top1"] == pytest.approx(1 / 3)
    assert summary["class_mean_recall"] == pytest.approx(1 / 3)
    assert metrics.mean_topk_recall([0, 0, 0], np.full((3, 6), np.nan), k=5) == 0.0


def test_log_losses_match_keras():
    labels, scores = _scores(seed=3)
    expected = keras.losses.sparse_categorical_crossentropy(
        labels, scores, from_logits=True
    )
    found = metrics.log_losses(labels, scores)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), rtol=1e-5)


def test_log_losses_of_large_logits_are_finite():
    found = metrics.log_losses([0, 1], [[1e4, 0], [1e4, 0]])
    np.testing.assert_array_equal(found, [0, 1e4])


def test_confusion_matrix_counts_rows_by_truth():
    matrix = metrics.confusion_matrix([0, 0, 2], np.eye(3)[[1, 0, 2]])
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])


def test_bigram_by_hand():
    previous = [None, "a", "a", "a", "b", None]
    labels = [0, 1, 1, 2, 2, 1]
    # After "a" comes 1, after "b" 2, at the start 0 came first; "c" never came.
    assert metrics.bigram(previous, labels, ["a", "b", None, "c"]) == [1, 2, 0, 1]


def test_bigram_of_labels_that_follow_each_other_is_always_right():
    labels = [0, 1, 2] * 5
    assert metrics.bigram([None, *labels], [*labels, 0], [0, 1, 2]) == [1, 2, 0]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_mean_topk_recall_is_the_equation_in_loops(k):
    random = np.random.default_rng(k)
    labels, scores = random.integers(6, size=40), random.normal(size=(40, 7))
    scores[:, 3] = scores[:, 4]
    recalls = {}
    for label, row in zip(labels, scores, strict=True):
        # The true class comes last among equals.
        order = sorted(range(7), key=lambda c, r=row, n=label: (-r[c], c == n))
        recalls.setdefault(int(label), []).append(int(label) in order[:k])
    means = {label: np.mean(hits) for label, hits in recalls.items()}
    expected = np.mean([*means.values()])
    assert metrics.mean_topk_recall(labels, scores, k) == pytest.approx(expected)
    few = np.mean([means[1], means[5]])
    found = metrics.mean_topk_recall(labels, scores, k, classes=[1, 5, 6])
    assert found == pytest.approx(few)


def test_mean_topk_recall_of_nothing():
    assert metrics.mean_topk_recall([0], [[1, 2]], classes=[1]) is None
    assert metrics.mean_topk_recall([0], [[1, 2]], classes=[]) is None
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.mean_topk_recall([0], [[1, 2]], k=0)
