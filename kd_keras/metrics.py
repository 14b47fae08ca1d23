"""Measures of classification: top-k accuracy, recall, loss, confusion, bigram."""

import collections
from collections.abc import Hashable, Sequence

import keras
import numpy as np
from keras import ops

from kd_keras.labeled_scores import labeled_scores


@keras.saving.register_keras_serializable(package="kd_keras")
class ClassMeanRecall(keras.metrics.Metric):
    """Mean over classes of the fraction of their examples that are recognized.

    Classes without an example do not count; 0 if there is no example at all.
    EPIC-KITCHENS reports it beside accuracy, as its classes are very unequal.

    Args:
        num_classes: Number of classes, > 0.
    Shapes:
        y_true: Class indices (batch,) or (batch, 1). y_pred: Logits or probabilities
        (batch, num_classes). sample_weight: As y_true; 0 leaves an example out.
    Examples:
        Three of four examples are right, one of two classes.

        >>> import numpy as np
        >>> from kd_keras.metrics import ClassMeanRecall
        >>> recall = ClassMeanRecall(num_classes=2)
        >>> recall.update_state(np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 0]])
        >>> float(recall.result())
        0.5
    """

    def __init__(self, num_classes, name="class_mean_recall", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.hits = self.add_weight(
            shape=(num_classes,), initializer="zeros", name="hits"
        )
        self.examples = self.add_weight(
            shape=(num_classes,), initializer="zeros", name="examples"
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.reshape(ops.cast(y_true, "int32"), (-1,))
        hit = ops.cast(y_true == ops.cast(ops.argmax(y_pred, -1), "int32"), self.dtype)
        # PyTorch's `one_hot` refuses a class that is out of range.
        rows = ops.cast(y_true[:, None] == ops.arange(self.num_classes), self.dtype)
        if sample_weight is not None:
            rows *= ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
        self.hits.assign_add(ops.sum(rows * hit[:, None], axis=0))
        self.examples.assign_add(ops.sum(rows, axis=0))

    def result(self):
        recall = ops.divide_no_nan(self.hits, self.examples)
        seen = ops.cast(self.examples > 0, self.dtype)
        return ops.divide_no_nan(ops.sum(recall), ops.sum(seen))

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}


def confusion_matrix(labels, scores):
    """Counts examples by class (rows) and highest score (columns).

    Examples:
        >>> from kd_keras.metrics import confusion_matrix
        >>> confusion_matrix([0, 0, 1], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]).tolist()
        [[1, 1], [0, 1]]
    """
    labels, scores = labeled_scores(labels, scores)
    matrix = np.zeros((scores.shape[1], scores.shape[1]), np.int64)
    np.add.at(matrix, (labels, scores.argmax(1)), 1)
    return matrix


def classification_scores(labels, scores):
    """Returns top-1, top-5 and class-mean recall, each in [0, 1].

    Args:
        labels: Class indices (examples,).
        scores: Logits or probabilities (examples, num_classes). With fewer than five
            classes, top-5 is 1. Ties and NaN count against the network.
    Examples:
        >>> from kd_keras.metrics import classification_scores
        >>> classification_scores([0, 0, 0, 1], [[3, 1], [2, 1], [4, 0], [5, 1]])
        {'top1': 0.75, 'top5': 1.0, 'class_mean_recall': 0.5}
    """
    labels, scores = labeled_scores(labels, scores)
    rank = _ranks(labels, scores)
    return {
        "top1": float(np.mean(rank <= 1)),
        "top5": float(np.mean(rank <= 5)),
        "class_mean_recall": mean_topk_recall(labels, scores, k=1),
    }


def log_losses(labels, logits):
    """Returns the loss of each example (examples,), in nats: -log p(true class).

    Args:
        labels: Class indices (examples,).
        logits: (examples, num_classes).
    Examples:
        >>> from kd_keras.metrics import log_losses
        >>> [round(float(loss), 3) for loss in log_losses([0, 1], [[0, 0], [9, 0]])]
        [0.693, 9.0]
    """
    labels, logits = labeled_scores(labels, np.asarray(logits, np.float64), "logits")
    highest = logits.max(1)
    log_sums = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    return log_sums - logits[np.arange(len(labels)), labels]


def mean_topk_recall(labels, scores, k=5, classes=None):
    """Returns the mean over classes of the fraction of their examples that is found.

    An example is found if its class is among the k highest scores. The challenges of
    EPIC-KITCHENS rank by it, with k = 5. Ties count against the network.

    Args:
        labels: Class indices (examples,).
        scores: Logits or probabilities (examples, num_classes).
        k: How many of the highest scores count, > 0.
        classes: The class indices to average over; None is all. Those without an
            example do not count.
    Returns:
        A number in [0, 1], or None if no class has an example.
    Examples:
        Of class 0 two of two examples are found, of class 1 none.

        >>> from kd_keras.metrics import mean_topk_recall
        >>> scores = [[3, 1, 2], [2, 1, 0], [3, 0, 1]]
        >>> mean_topk_recall([0, 0, 1], scores, k=2)
        0.5
        >>> mean_topk_recall([0, 0, 1], scores, k=2, classes=[0])
        1.0
    """
    if k < 1:
        raise ValueError(f"k must be at least 1. Got {k}.")
    labels, scores = labeled_scores(labels, scores)
    is_found = _ranks(labels, scores) <= k
    present = np.unique(labels)
    if classes is not None:
        present = np.intersect1d(present, np.asarray(classes, labels.dtype))
    recalls = [np.mean(is_found[labels == label]) for label in present]
    return float(np.mean(recalls)) if recalls else None


def _ranks(labels, scores):
    """The rank of the true class of each example, 1 the best; the worst of ties."""
    own = scores[np.arange(len(labels)), labels][:, None]
    # NaN is neither below nor above, and counts against the network like a tie.
    return np.sum(~(scores < own), axis=1)


def bigram(
    training_previous: Sequence[Hashable],
    training_labels: Sequence[int],
    previous: Sequence[Hashable],
) -> list[int]:
    """Returns the most frequent training label after each label that came before.

    On EPIC-KITCHENS this knows the true last verb, which no network is told, and is
    right more often than the paper's networks: results stand beside it.

    Args:
        training_previous: What came before each training example; None is as good as
            any label.
        training_labels: Class index of each training example, at least one.
        previous: What comes before each example to predict. If that never came in
            training, the prediction is the most frequent label of all. Of labels that
            are equally frequent it is the one that training has first.
    Examples:
        Class 1 came after "open" most often. Nothing came after "peel".

        >>> from kd_keras.metrics import bigram
        >>> before, labels = ["open", "open", "open", "cut"], [1, 1, 0, 2]
        >>> bigram(before, labels, previous=["open", "cut", "peel"])
        [1, 2, 1]
    """
    followers = collections.defaultdict(collections.Counter)
    for before, label in zip(training_previous, training_labels, strict=True):
        followers[before][label] += 1

    def most_frequent(counts):
        return max(counts, key=counts.get)

    fallback = most_frequent(collections.Counter(training_labels))
    predictions = {
        before: most_frequent(counts) for before, counts in followers.items()
    }
    return [predictions.get(before, fallback) for before in previous]
