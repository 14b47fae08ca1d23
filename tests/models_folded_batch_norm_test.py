"""BatchNorm folded into convolutions: every backbone, and what has to stay."""

import keras
import numpy as np
import pytest
from keras import layers

from kd_keras.models import build_backbone
from kd_keras.models.backbones import BACKBONES
from kd_keras.models.folded_batch_norm import fold_batch_norm
from kd_keras.training.feature_reader import model_with_features

FRAMES, SIZE = 9, 32
# Of every kind one; the others have the same layers.
NAMES = ("i3d", "tsn_small", "tsm", "tsm_lite", "r2plus1d_attributes", "temporal")


def with_random_statistics(model):
    """A network whose BatchNorms do something, as those of a trained one."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            with_random_statistics(layer)
        elif isinstance(layer, layers.BatchNormalization):
            shapes = [weight.shape for weight in layer.weights]
            layer.set_weights([random.uniform(0.5, 1.5, shape) for shape in shapes])
    return model


def batch_norms(model):
    return [
        layer.name for layer in model.layers if type(layer) is layers.BatchNormalization
    ]


def relative_gap(one, other):
    one, other = map(keras.ops.convert_to_numpy, (one, other))
    return np.abs(one - other).max() / np.abs(other).max()


def random_clips(model):
    random = np.random.default_rng(1)
    return random.uniform(-1, 1, (2, *model.inputs[0].shape[1:])).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_folded_backbone_is_equal_and_has_no_batch_norm(name):
    model = with_random_statistics(
        build_backbone(
            name, 5, FRAMES, SIZE, width=0.05, segments=3,
            attribute_weights=None, attribute_width=0.05,
        )
    )  # fmt: skip
    layer = BACKBONES[name].feature_layers[-1]
    before = [weight.copy() for weight in model.get_weights()]
    folded = fold_batch_norm(model)
    assert batch_norms(model)
    for network in (folded, *(x for x in folded.layers if isinstance(x, keras.Model))):
        assert batch_norms(network) == []
    assert [x.name for x in folded.layers] == [x.name for x in model.layers]
    clips = random_clips(model)
    found, expected = (
        model_with_features(network, layer)(clips, training=False)
        for network in (folded, model)
    )
    # Logits, then the map of a layer behind every convolution.
    for one, other in zip(found, expected, strict=True):
        assert relative_gap(one, other) < 1e-5
    for weight, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, kept)


def norm(name, **options):
    return layers.BatchNormalization(name=name, **options)


def test_what_cannot_be_folded_stays():
    clip = keras.Input((6, 6, 4))
    x = norm("before")(clip)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = norm("behind_relu")(x)
    x = shared = layers.Conv2D(4, 1, use_bias=True)(x)
    x = norm("of_shared")(x)
    x = layers.Add()([x, shared])
    twice = layers.Conv2D(4, 1)
    x = norm("of_twice")(twice(twice(x)))
    x = layers.Conv2D(4, 1)(x)
    x = norm("of_rows", axis=1)(x)
    x = layers.Conv2D(4, 1)(x)
    x = norm("of_batch")(x, training=True)
    x = layers.Reshape((2, 32))(layers.Conv2D(4, 1)(x))
    x = norm("of_mixed_channels")(x)
    x = layers.Conv1D(4, 1, dtype="mixed_bfloat16")(x)
    x = norm("in_half_precision", dtype="mixed_bfloat16")(x)
    x = layers.Conv1D(4, 1, name="read")(x)
    x = norm("of_read")(x)
    model = keras.Model(clip, x)
    assert fold_batch_norm(model, keep=["read"]) is model
    expected = [name for name in batch_norms(model) if name != "of_read"]
    assert batch_norms(fold_batch_norm(model)) == expected


def test_biases_multiples_and_half_a_batch_norm_are_folded():
    model = with_random_statistics(
        keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                layers.DepthwiseConv2D(3, depth_multiplier=2, bias_initializer="ones"),
                norm("a", scale=False),
                layers.Conv2D(4, 3, bias_initializer="ones"),
                norm("b", center=False),
            ]
        )
    )
    folded = fold_batch_norm(model)
    assert batch_norms(folded) == []
    clips = random_clips(model)
    assert relative_gap(folded(clips), model(clips, training=False)) < 1e-5
