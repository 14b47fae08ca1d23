"""Whether a network ends in logits or in probabilities."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kd_keras.models import outputs
from tests.published_i3d import run

SHAPE = (4, 8, 8, 3)
CLASSES = 3


def network(end):
    keras.utils.set_random_seed(0)
    clip = keras.Input(SHAPE)
    x = layers.GlobalAveragePooling3D()(layers.Conv3D(4, 3, activation="relu")(clip))
    return keras.Model(clip, end(x))


def clips():
    return np.random.default_rng(1).uniform(-1, 1, (2, *SHAPE)).astype("float32")


def dense(x, **arguments):
    return layers.Dense(CLASSES, **arguments)(x)


def nested(x):
    inner = keras.Input(x.shape[1:])
    return keras.Model(inner, layers.Softmax()(dense(inner)))(x)


def nested_sequential(x):
    inner = keras.Sequential([keras.Input(x.shape[1:])])
    inner.add(layers.Dense(CLASSES, activation="softmax"))
    return inner(x)


def of_segments(x):
    x = layers.TimeDistributed(layers.Dense(CLASSES, activation="softmax"))(
        layers.Reshape((2, 2))(x)
    )
    return layers.GlobalAveragePooling1D()(x)


def by_hand(x):
    powers = ops.exp(dense(x))
    return powers / ops.sum(powers, axis=-1, keepdims=True)


SOFTMAX = {
    "layer": lambda x: layers.Softmax()(dense(x)),
    "layer in bfloat16": lambda x: layers.Softmax(dtype="bfloat16")(dense(x)),
    "activation": lambda x: layers.Activation("softmax")(dense(x)),
    "dense": lambda x: dense(x, activation="softmax"),
    "operation": lambda x: ops.softmax(dense(x)),
    "operation on axis 1": lambda x: ops.nn.softmax(dense(x), axis=1),
    "nested": nested,
    "nested sequential": nested_sequential,
    "reshaped": lambda x: layers.Reshape((CLASSES,))(layers.Softmax()(dense(x))),
    "cast": lambda x: ops.cast(layers.Softmax()(dense(x)), "float32"),
    "mean of segments": of_segments,
}


@pytest.mark.parametrize("end", SOFTMAX.values(), ids=SOFTMAX)
def test_the_structure_tells_of_a_softmax(end):
    assert outputs.gives_probabilities(network(end))


@pytest.mark.parametrize("end", [*SOFTMAX.values(), by_hand], ids=[*SOFTMAX, "by hand"])
def test_the_answers_tell_of_a_softmax(end):
    # Without what the structure says.
    model = network(lambda x: end(x) * 1.0)
    assert not outputs.gives_probabilities(model)
    assert outputs.gives_probabilities(model, SHAPE)


LOGITS = {
    "dense": dense,
    "relu": lambda x: dense(x, activation="relu"),
    "log_softmax": lambda x: ops.log_softmax(dense(x)),
    "softmax within": lambda x: dense(layers.Softmax()(x)),
    "nested": lambda x: layers.Dense(CLASSES)(nested(x)),
    "near zero": lambda x: dense(x, kernel_initializer="zeros"),
}


@pytest.mark.parametrize("end", LOGITS.values(), ids=LOGITS)
def test_logits_are_no_probabilities(end):
    model = network(end)
    assert not outputs.gives_probabilities(model, SHAPE)
    assert outputs.as_logits(model, SHAPE) is model
    expected = np.exp(run(model, clips()).astype(np.float64))
    expected /= expected.sum(1, keepdims=True)
    probabilities = outputs.as_probabilities(model, SHAPE)
    np.testing.assert_allclose(run(probabilities, clips()), expected, rtol=1e-5)


@pytest.mark.parametrize("end", [SOFTMAX["dense"], by_hand])
def test_probabilities_are_taken_as_they_are(end):
    model = network(end)
    expected = run(model, clips())
    same = outputs.as_probabilities(model, SHAPE)
    np.testing.assert_array_equal(run(same, clips()), expected)
    logits = outputs.as_logits(model, SHAPE)
    powers = np.exp(run(logits, clips()))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), expected, 1e-5)
    assert logits.name == model.name
    assert [layer.name for layer in logits.layers] == [
        each.name for each in model.layers
    ]


def test_a_probability_of_zero_has_a_logarithm():
    model = network(lambda x: dense(x, activation="softmax"))
    model.layers[-1].set_weights([np.zeros((4, 3)), np.array([0.0, -300.0, 0.0])])
    np.testing.assert_array_equal(run(model, clips())[:, 1], 0)
    assert np.isfinite(run(outputs.as_logits(model), clips())).all()


@pytest.mark.parametrize(
    "end", [lambda x: dense(x, activation="sigmoid"), lambda x: ops.sigmoid(dense(x))]
)
def test_a_sigmoid_is_refused(end):
    with pytest.raises(ValueError, match="ends in a sigmoid.*Expected logits"):
        outputs.gives_probabilities(network(end))
