"""Training a network in less memory: most of its maps are computed a second time."""

import keras
import tensorflow as tf

from kd_keras.training.cuts import cuts_of
from kd_keras.training.feature_reader import feature_reader, layer_names
from kd_keras.training.fused_batch_norm import with_fused_batch_norm


def rematerializing_reader(model, feature_layer=None, num_segments=8):
    """Returns a function clips -> (logits, feature map), as `feature_reader` does.

    In training it keeps what passes from one segment of the network to the next; the
    backward pass computes what is inside of a segment again, with the same dropout,
    and BatchNorm learns from the first time alone. The values and gradients are those
    of the whole network.

    Args:
        model: A functional Keras model from clips to logits.
        feature_layer: As `feature_reader` takes it.
        num_segments: How many parts the network is cut into, if possible.
    Raises:
        ValueError: If more than the feature map passes its layer, which then cannot
            be a cut, the model has another one inside, or a layer regularizes what
            it computes.
    """
    if any(isinstance(layer, keras.Model) for layer in model.layers):
        raise ValueError(
            f"{model.name!r} has another network inside and cannot be cut into parts."
        )
    for layer in model.layers:
        if layer.activity_regularizer is not None:
            raise ValueError(
                f"{layer.name!r} has an activity_regularizer, whose loss is not known "
                "once its maps are forgotten. Train without rematerialize, or remove "
                "it."
            )
    cuts, layers = cuts_of(model), layer_names(feature_layer)
    chosen = set(_spread(list(cuts), num_segments - 1))
    for name in layers:
        if name not in cuts:
            raise ValueError(
                f"{model.name!r} cannot be cut at {name!r}, which is beside other "
                f"paths. Compare maps at one of: {', '.join(cuts)}."
            )
        chosen.add(name)
    names = [name for name in cuts if name in chosen]
    tensors = [model.input, *(cuts[name] for name in names), model.output]
    segments = [
        (name, _Segment(start, end))
        for name, start, end in zip(
            [*names, None], tensors[:-1], tensors[1:], strict=True
        )
    ]
    read_whole = feature_reader(model, feature_layer)

    def read(clips, training=False):
        if not training:
            return read_whole(clips)
        maps, x = {}, clips
        for name, segment in segments:
            x = segment(x)
            if name in layers:
                maps[name] = x
        if isinstance(feature_layer, tuple):
            return x, tuple(maps[name] for name in layers)
        return x, maps.get(feature_layer)

    return read


class _Segment:
    """A part of a network that forgets what it computed."""

    def __init__(self, start, end):
        self._part = with_fused_batch_norm(keras.Model(start, end))

    def __call__(self, x):
        part = self._part
        # Which these are changes if layers are frozen between two trainings.
        trained = part.trainable_variables
        # Moving statistics and the state of random numbers, and what is frozen.
        state = part.non_trainable_variables
        number = len(trained)

        def call(x, *values):
            y, new_state = part.stateless_call(
                list(values[:number]), list(values[number:]), x, training=True
            )
            return (y, *new_state)

        values = [tf.convert_to_tensor(v.value) for v in (*trained, *state)]
        y, *new_state = tf.recompute_grad(call)(x, *values)
        for variable, value in zip(state, new_state, strict=True):
            variable.assign(value)
        return y


def _spread(names, number):
    """Returns so many of the names, evenly spread."""
    if len(names) <= number:
        return names
    return [names[(k + 1) * len(names) // (number + 1)] for k in range(number)]
