"""Reads a network's logits together with the feature maps of chosen layers."""

from collections.abc import Sequence

import keras


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
    names = [feature_layer] if isinstance(feature_layer, str) else feature_layer
    is_list = isinstance(names, Sequence)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise ValueError(
            "A feature layer is given by its name, several by a list of names. Got "
            f"{feature_layer!r}."
        )
    return tuple(names)


def num_channels(model, feature_layer):
    """Returns the number of channels of a feature map."""
    return _layer(model, feature_layer).output.shape[-1]


def _layer(model, name):
    try:
        return model.get_layer(name)
    except ValueError:
        names = ", ".join(layer.name for layer in model.layers)
        raise ValueError(
            f"{model.name!r} has no layer {name!r} to read features from. "
            f"Choose one of: {names}."
        ) from None
