"""Schedules, rates of single layers, decay and clipping against NumPy."""

import math

import keras
import numpy as np
import pytest

from tests import tiny_training
from train.loop import optimization
from train.student import feature_weight


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("name", ["cosine", "step", "constant"])
def test_schedules_rise_and_fall_as_they_say(name, warmup):
    rate, steps = 0.3, 40
    found = optimization.schedule(name, rate, steps, warmup)
    for step in range(steps):
        if step < warmup:
            expected = rate * (step + 1) / (warmup + 1)
        elif name == "cosine":
            share = (step - warmup) / (steps - warmup)
            expected = rate * (1 + math.cos(math.pi * share)) / 2
        elif name == "step":
            expected = rate * (0.1 if step >= 20 else 1) * (0.1 if step >= 30 else 1)
        else:
            expected = rate
        assert float(found(step)) == pytest.approx(expected, rel=1e-4), step


def test_a_schedule_survives_its_config():
    found = optimization.schedule("step", 0.3, 40, 4)
    again = optimization.WarmUp.from_config(found.get_config())
    assert float(again(35)) == pytest.approx(float(found(35)))


def _network():
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((3,)),
            # A bias of 0 would not show its decay.
            keras.layers.Dense(2, bias_initializer="ones", name="stem"),
            keras.layers.Dense(2, bias_initializer="ones", name="Logits"),
        ]
    )


def _step(arguments, gradients, pretrained_rate=1.0, steps=2):
    """Takes one step; returns weights before and after, in float64."""
    network = _network()
    options = tiny_training.config("--schedule=constant", *arguments)
    optimizer = optimization.optimizer(options, steps, 0.1)
    weights = network.trainable_variables
    if pretrained_rate != 1:
        optimization.set_rates(optimizer, network, weights, pretrained_rate)
    before = [np.array(w, "float64") for w in weights]
    optimizer.build(weights)
    optimizer.apply([keras.ops.array(g) for g in gradients(before)], weights)
    return before, [np.array(w, "float64") for w in weights]


def _ones(weights):
    return [np.ones(w.shape, "float32") for w in weights]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_all_but_the_head_has_its_own_rate_and_decay(name):
    decay, own = 0.5, 0.1
    arguments = (f"--optimizer={name}", f"--weight_decay={decay}", "--momentum=0")
    before, after = _step(arguments, _ones, pretrained_rate=own)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        rate = 0.1 * (own if number < 2 else 1.0)
        decayed = old - rate * decay * old if old.ndim == 2 else old
        # Adam's first step has the size of the rate.
        np.testing.assert_allclose(new, decayed - rate, rtol=1e-4, atol=1e-6)


def test_adam_is_that_of_its_paper():
    """Kingma and Ba, algorithm 1, with decoupled decay, in float64."""
    network, rate, decay, steps = _network(), 0.1, 0.5, 5
    options = tiny_training.config("--schedule=cosine", f"--weight_decay={decay}")
    optimizer = optimization.optimizer(options, steps, rate)
    weights = network.trainable_variables
    optimizer.build(weights)
    expected = [np.array(weight, "float64") for weight in weights]
    first, second = ([np.zeros_like(w) for w in expected] for _ in range(2))
    random = np.random.default_rng(0)
    for step in range(steps):
        gradients = [random.normal(size=w.shape) for w in expected]
        optimizer.apply([keras.ops.array(g, "float32") for g in gradients], weights)
        now = rate * (1 + math.cos(math.pi * step / steps)) / 2
        for n, gradient in enumerate(gradients):
            if expected[n].ndim == 2:
                expected[n] -= now * decay * expected[n]
            first[n] = 0.9 * first[n] + 0.1 * gradient
            second[n] = 0.999 * second[n] + 0.001 * gradient**2
            mean = first[n] / (1 - 0.9 ** (step + 1))
            spread = np.sqrt(second[n] / (1 - 0.999 ** (step + 1)))
            expected[n] -= now * mean / (spread + 1e-7)
    for weight, value in zip(weights, expected, strict=True):
        np.testing.assert_allclose(weight, value, rtol=1e-4, atol=1e-5)


def test_scales_and_offsets_of_batch_norm_do_not_decay():
    norm = keras.layers.BatchNormalization(beta_initializer="ones")
    norm.build((None, 3))
    weights = norm.trainable_variables
    assert {weight.name for weight in weights} == {"gamma", "beta"}
    optimizer = optimization.optimizer(
        tiny_training.config("--optimizer=sgd", "--weight_decay=0.5"), 2, 0.1
    )
    optimizer.build(weights)
    optimizer.apply([keras.ops.zeros(w.shape) for w in weights], weights)
    for weight in weights:
        np.testing.assert_array_equal(weight, np.ones(3))


def test_the_rate_grows_with_the_batch():
    arguments = ("--optimizer=sgd", "--weight_decay=0", "--momentum=0")
    arguments += ("--scale_learning_rate", "--batch_size=64")
    before, after = _step(arguments, _ones)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old - 0.4, rtol=1e-5, atol=1e-6)


def test_gradients_are_clipped_together():
    arguments = ("--optimizer=sgd", "--weight_decay=0", "--momentum=0")
    before, after = _step((*arguments, "--clip_norm=0.5"), _ones)
    norm = math.sqrt(sum(w.size for w in before))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old - 0.1 * 0.5 / norm, rtol=1e-5, atol=1e-6)


def test_nesterov_looks_ahead():
    arguments = ("--optimizer=sgd", "--weight_decay=0", "--momentum=0.5", "--nesterov")
    before, after = _step(arguments, _ones)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old - 0.15, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.2, 0.2, 0.2]),
        ("linear_up", [0.0, 0.1, 0.2]),
        ("cosine_down", [0.2, 0.1, 0.0]),
    ],
)
def test_the_feature_weight_follows_its_schedule(name, expected):
    options = tiny_training.config(
        "--feature_weight=0.2", f"--feature_weight_schedule={name}"
    ).distillation
    found = feature_weight(options, steps=10)["feature_weight"]
    for step, value in zip((0, 5, 10), expected, strict=True):
        weight = float(found(step)) if callable(found) else found
        assert weight == pytest.approx(value, abs=1e-7)
