"""The weight λ that follows the gradients, against gradients taken one by one."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kd_keras
from kd_keras.distill.gradient_ratio import GradientRatioWeight
from tests import tiny_distillation
from tests.tiny_distillation import batch, distiller

_STEPS, _RATIO = 6, 0.25


def _norms(model, rows, layer="map", channels=None):
    """Norms of the two gradients for the student's map, each by a tape of its own."""
    student, teacher = model.student, tiny_distillation.network(2, channels or 6)
    names = [each.name for each in student.layers]
    stem = keras.Model(student.input, student.get_layer(layer).output)
    head = student.layers[names.index(layer) + 1 :]
    theirs = keras.Model(teacher.input, teacher.get_layer(layer).output)(rows["future"])
    probabilities = tf.nn.softmax(teacher(rows["future"]))
    labels = tf.one_hot(rows["label"], tiny_distillation.NUM_CLASSES)
    targets = tf.where(rows["labeled"][:, None], labels, probabilities)
    own = stem(rows["observed"])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(own)
        x = own
        for each in head:
            x = each(x)
        others = tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits(labels=targets, logits=x)
        )
        compared = model._projected([own])[0]
        feature = tf.reduce_mean(
            tf.reduce_mean(tf.reduce_sum((theirs - compared) ** 2, -1), (1, 2, 3))
        )
    return [
        np.linalg.norm(np.asarray(tape.gradient(loss, own), "float64"))
        for loss in (others, feature)
    ]


@pytest.mark.parametrize("channels", [6, 5], ids=["the same channels", "projected"])
def test_the_weight_is_the_ratio_of_averaged_norms(channels):
    model = distiller(
        keras.optimizers.SGD(0.1),
        channels,
        feature_weight="auto",
        gradient_ratio=_RATIO,
    )
    averages, first = np.zeros(2), float(model.current_feature_weight())
    assert first == pytest.approx(_RATIO * 1e-3)
    for step in range(_STEPS):
        averages += (
            np.array(_norms(model, batch(step), channels=channels)) - averages
        ) / 50
        model.learn(batch(step))
        others, feature = averages
        found = float(model.current_feature_weight())
        assert found == pytest.approx(_RATIO * others / feature, rel=1e-4)


def test_the_loss_and_the_step_take_the_weight_of_their_step():
    """A step with λ from the gradients is the step with that number as λ."""
    auto = distiller(keras.optimizers.SGD(0.1), feature_weight="auto")
    for step in range(_STEPS):
        weight = float(auto.current_feature_weight())
        number = distiller(keras.optimizers.SGD(0.1), feature_weight=weight)
        number.student.set_weights(auto.student.get_weights())
        found, expected = auto.learn(batch(step)), number.learn(batch(step))
        assert float(found["feature"]) == pytest.approx(float(expected["feature"]))
        for one, other in zip(
            auto.student.weights, number.student.weights, strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_the_ratio_that_was_asked_for_is_held_and_logged():
    model = distiller(
        keras.optimizers.SGD(0.0), feature_weight="auto", gradient_ratio=0.7
    )
    model.learn(batch(0))
    model.reset_metrics()
    for _ in range(3):
        model.learn(batch(0))
    logged = {name: float(value) for name, value in model.get_metrics_result().items()}
    assert logged["feature_gradient_ratio"] == pytest.approx(0.7, rel=1e-4)
    others, feature = _norms(model, batch(0))
    assert logged["feature_weight"] == pytest.approx(0.7 * others / feature, rel=1e-4)


@pytest.mark.parametrize("channels", [6, 5], ids=["the same channels", "projected"])
def test_the_logged_norms_are_those_of_the_compared_map(channels):
    rows = batch(0)
    model = distiller(keras.optimizers.SGD(0.1), channels, feature_weight=0.3)
    found = {name: float(norm) for name, norm in model.gradient_norms(rows).items()}
    _, feature = _norms(model, rows, channels=channels)
    assert found.pop("feature") == pytest.approx(0.3 * feature, rel=1e-4)
    # The mean of one kind of target, weighted as the mean over the batch has it.
    for name, kind in (("label", True), ("pseudo_label", False)):
        chosen = np.asarray(rows["labeled"]) == kind
        part = {key: np.asarray(value)[chosen] for key, value in rows.items()}
        others, _ = _norms(model, part, channels=channels)
        assert found[name] == pytest.approx(others * chosen.mean(), rel=1e-4)


def test_a_schedule_of_the_ratio_is_followed():
    model = distiller(
        keras.optimizers.SGD(0.0),
        feature_weight="auto",
        gradient_ratio=keras.optimizers.schedules.PolynomialDecay(
            0.0, 4, end_learning_rate=0.8
        ),
    )
    others, feature = _norms(model, batch(0))
    # A weight of 0 tells nothing of the feature loss's gradient.
    for expected in (0.0, 0.2 * 1e-3, 0.4 * others / feature, 0.6 * others / feature):
        weight = float(model.current_feature_weight())
        assert weight == pytest.approx(expected, rel=1e-4)
        model.learn(batch(0))


def test_several_layers_are_added_up_and_the_last_is_followed():
    layers = ("map", "deeper_map")
    model = distiller(
        keras.optimizers.SGD(0.0), feature_weight="auto", feature_layer=layers
    )
    single = [
        distiller(keras.optimizers.SGD(0.0), feature_layer=layer) for layer in layers
    ]
    losses = [float(each.learn(batch(0))["feature"]) for each in single]
    weight = float(model.current_feature_weight())
    found = float(model.learn(batch(0))["feature"])
    assert found == pytest.approx(weight * sum(losses), rel=1e-5)
    others, feature = _norms(single[1], batch(0), "deeper_map")
    expected = 0.3 * others / feature
    assert float(model.current_feature_weight()) == pytest.approx(expected, rel=1e-4)


def test_stored_maps_of_several_layers_teach_as_the_teacher_does():
    layers = ("map", "deeper_map")
    asked = distiller(keras.optimizers.SGD(0.1), feature_layer=layers)
    probabilities, maps = asked.teacher(batch(0)["future"])
    stored = {k: v for k, v in batch(0).items() if k != "future"}
    stored |= {"teacher_probabilities": probabilities, "teacher_features": maps}
    told = kd_keras.Distiller(
        tiny_distillation.network(1), None, kd_keras.DirectLoss(), feature_layer=layers
    )
    told.compile(optimizer=keras.optimizers.SGD(0.1))
    expected, found = asked.learn(batch(0)), told.learn(stored)
    assert float(found["loss"]) == pytest.approx(float(expected["loss"]))
    for wrong, got in ((maps[0], "one map"), ((*maps, maps[0]), "3")):
        with pytest.raises(ValueError, match=f"layer, map, deeper_map. Got {got}"):
            told.learn({**stored, "teacher_features": wrong})


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_left_out(broken):
    weight = GradientRatioWeight(0.5)
    weight.update(0.1, tf.constant(3.0), tf.constant(0.2))
    before = float(weight.at(0))
    assert before == pytest.approx(0.5 * 3 / 2)
    for norms in ((broken, 0.2), (3.0, broken), (0.0, 0.2), (3.0, 0.0)):
        weight.update(0.1, *map(tf.constant, norms))
    assert float(weight.at(0)) == before


def test_two_devices_give_what_one_gives():
    # Both optimizers in one process, as it takes long to start.
    one, two = (_on_devices(number, "sgd", "adamw") for number in (1, 2))
    for alone, together in zip(one, two, strict=True):
        assert alone["weight"] > 1e-3
        assert together["weight"] == pytest.approx(alone["weight"], rel=1e-5)
        np.testing.assert_allclose(
            together["weights"], alone["weights"], rtol=1e-5, atol=1e-6
        )


def _on_devices(number, *optimizers):
    said = subprocess.run(
        [sys.executable, "-m", "tests.tiny_distillation", str(number), *optimizers],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return json.loads(said.splitlines()[-1])


def test_half_precision_gives_nearly_the_same_weight():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = distiller(keras.optimizers.SGD(0.0), feature_weight="auto")
    finally:
        keras.config.set_dtype_policy("float32")
    full = distiller(keras.optimizers.SGD(0.0), feature_weight="auto")
    for model in (half, full):
        model.learn(batch(0))
    assert float(half.current_feature_weight()) == pytest.approx(
        float(full.current_feature_weight()), rel=0.05
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_weight": "automatic"}, "Got 'automatic'"),
        ({"feature_weight": "auto", "gradient_ratio": 0.0}, "> 0. Got 0.0"),
        ({"feature_weight": "auto", "gradient_ratio": np.inf}, "finite and > 0"),
        ({"feature_layer": ("map", "other")}, "'other'"),
        (
            {"feature_layer": ("map",), "teacher_feature_layer": ("map", "deeper_map")},
            "Got map and map, deeper_map",
        ),
    ],
)
def test_wrong_values_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        distiller(keras.optimizers.SGD(0.1), **options)


def test_a_loss_at_a_frozen_map_is_refused():
    student = tiny_distillation.network(1, 6)
    for layer in student.layers[:3]:
        layer.trainable = False
    teacher = tiny_distillation.network(2, 6)
    with pytest.raises(ValueError, match="up to map are frozen.*a later layer"):
        kd_keras.Distiller(
            student,
            teacher,
            feature_loss=kd_keras.AttentionalPoolingLoss(),
            feature_layer="map",
        )
