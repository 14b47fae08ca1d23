"""The loss of labels alone is the cross-entropy, also of mixtures of two labels."""

import keras
import numpy as np
import pytest

from kd_keras.training.supervised import SupervisedTrainer

_CLASSES = 4


def _batch(**more):
    random = np.random.default_rng(0)
    return {
        "observed": random.normal(size=(5, 3)).astype("float32"),
        "label": np.array([0, 3, 1, 1, 2], "int32"),
        "labeled": np.array([False, True, False, True, True]),
        **more,
    }


def _trainer(**options):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,)), keras.layers.Dense(_CLASSES)]
    model = SupervisedTrainer(keras.Sequential(layers), "observed", **options)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    return model


def _log_predictions(model, batch):
    kernel, bias = (np.float64(weights) for weights in model.network.get_weights())
    logits = np.float64(batch["observed"]) @ kernel + bias
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_mixture_of_clips_has_the_mixture_of_their_labels_as_target(smoothing):
    weights = np.array([0.2, 1, 0.7, 1, 1], "float32")
    others = np.array([2, 0, 3, 1, 1], "int32")
    batch = _batch(mixup_weight=weights, other_label=others)
    model = _trainer(label_smoothing=smoothing)
    classes, part = np.eye(_CLASSES), np.float64(weights)[:, None]
    targets = part * classes[batch["label"]] + (1 - part) * classes[others]
    targets = (1 - smoothing) * targets + smoothing / _CLASSES
    expected = -(targets * _log_predictions(model, batch)).sum(1).mean()
    assert float(model.learn(batch)["loss"]) == pytest.approx(expected, rel=1e-5)


def test_without_mixtures_the_target_is_the_label():
    batch, model = _batch(), _trainer()
    log_predictions = _log_predictions(model, batch)
    expected = -log_predictions[np.arange(5), batch["label"]].mean()
    assert float(model.learn(batch)["loss"]) == pytest.approx(expected, rel=1e-5)


def test_the_accuracy_is_of_what_is_labeled():
    batch, model = _batch(), _trainer()
    hits = _log_predictions(model, batch).argmax(1) == batch["label"]
    model.learn(batch)
    scores = {key: float(value) for key, value in model.get_metrics_result().items()}
    # Otherwise the test could not tell which are counted.
    assert hits.mean() != hits[batch["labeled"]].mean()
    assert scores["top1"] == pytest.approx(hits[batch["labeled"]].mean())
