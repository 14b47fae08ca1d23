"""Reads what a network says of a clip: its logits and one of its feature maps."""

import keras

from kd_keras.models.answers import as_logits


def feature_reader(model, feature_layer):
    """Returns a function clips -> (logits, feature map).

    The function shares the weights of `model`. It is no layer, so a Keras model that
    keeps one neither tracks nor saves what is behind it.

    Args:
        model: A functional Keras model from clips to logits.
        feature_layer: Name of the layer whose output is the feature map; None reads
            no map and the function gives (logits, None). Several names give a tuple
            of maps.
    Raises:
        ValueError: If the model has no layer of that name.
    """
    if feature_layer is None:
        return lambda clips, training=False: (model(clips, training=training), None)
    network = model_with_features(model, feature_layer)
    return lambda clips, training=False: network(clips, training=training)


def model_with_features(model, feature_layer):
    """Returns the model with a second output: the map of a layer, or of several."""
    if isinstance(feature_layer, str):
        features = _layer(model, feature_layer).output
    else:
        features = tuple(_layer(model, name).output for name in feature_layer)
    return keras.Model(model.input, (model.output, features))


def layer_names(feature_layer):
    """Returns the names in what `feature_reader` takes, as a tuple."""
    if feature_layer is None:
        return ()
    return (feature_layer,) if isinstance(feature_layer, str) else tuple(feature_layer)


def num_channels(model, feature_layer):
    """Returns the number of channels of a feature map."""
    return _layer(model, feature_layer).output.shape[-1]


class FrozenTeacher:
    """A recognition network that only answers: never trained, never saved.

    Calling it with future clips (batch, time, height, width, channels) in [-1, 1]
    gives (probabilities (batch, num_classes), feature map, a tuple of them or None),
    whether the model ends in logits or in a softmax.
    Examples:
        >>> import numpy as np
        >>> import kd_keras
        >>> model = kd_keras.TSN(5, 4, 16, segments=2, network="small", width=0.1)
        >>> teacher = kd_keras.distill.FrozenTeacher(model, "conv5_block1_out")
        >>> probabilities, features = teacher(np.zeros((1, 4, 16, 16, 3), "float32"))
        >>> round(float(sum(probabilities[0])), 3), tuple(features.shape)
        (1.0, (1, 2, 1, 1, 26))
    """

    def __init__(self, model, feature_layer=None):
        self._read = feature_reader(as_logits(model), feature_layer)

    def __call__(self, clips):
        logits, features = self._read(clips, training=False)
        probabilities = keras.ops.softmax(keras.ops.cast(logits, "float32"))
        stop = keras.ops.stop_gradient
        if features is not None:
            features = keras.tree.map_structure(stop, features)
        return stop(probabilities), features


def _layer(model, name):
    try:
        return model.get_layer(name)
    except ValueError:
        names = ", ".join(layer.name for layer in model.layers)
        raise ValueError(
            f"{model.name!r} has no layer {name!r} to read features from. "
            f"Choose one of: {names}."
        ) from None
