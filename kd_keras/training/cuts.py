"""Where a network can be cut in two: the outputs that are all that passes there."""

import math

import keras
import numpy as np
from keras import ops


def cuts_of(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Returns outputs that are all that passes behind them, in order.

    By the name of their layer, or of an operation that is none, such as a reshape. What
    networks inside of the model make of its input may pass beside.

    Args:
        model: A functional model of one input.
    """
    operations = [
        operation
        for operation in model.operations
        if not isinstance(operation, keras.layers.InputLayer | keras.Model)
    ]
    last_use = {}
    for number, operation in enumerate(operations):
        for tensor in keras.tree.flatten(operation.input):
            last_use[id(tensor)] = number
    cuts, alive = {}, {id(model.input)}
    for number, operation in enumerate(operations[:-1]):
        outputs = keras.tree.flatten(operation.output)
        alive |= {id(tensor) for tensor in outputs}
        alive = {tensor for tensor in alive if last_use.get(tensor, -1) > number}
        if len(outputs) == 1 and alive == {id(outputs[0])}:
            cuts[operation.name] = outputs[0]
    return cuts


def stages_of(model: keras.Model) -> list[str]:
    """Returns the layers behind which a network from clips to logits can be cut.

    All that passes such a layer is its output, one map of each clip, and perhaps what a
    network inside of the model, such as visual attributes, made of the clip. Layers
    with weights are left out: the input of a tail has their name and no weights.
    """
    maps = [
        layer.name
        for layer in model.layers
        if len(layer.output.shape) == len(model.input.shape)
        and not layer.name.startswith("Logits")
        and not layer.weights
    ]
    cuts = cuts_of(model)
    return [name for name in maps if name in cuts]


def stem_of(model: keras.Model, layer: str) -> keras.Model:
    """Returns the part of a model up to a layer; it shares its layers.

    Shapes:
        Its output is the layer's. If something passes beside, it is a vector for each
        clip, the output and that in a row.
    """
    parts = _passing(model, layer)
    output = parts[0]
    if len(parts) > 1:
        output = ops.concatenate([ops.reshape(t, (-1, _size(t))) for t in parts], -1)
    return keras.Model(model.input, output)


def tail_of(model: keras.Model, layer: str) -> keras.Model:
    """Returns a copy of what is behind a layer, fed what `stem_of` gives as float32.

    Its layers have the names and the options of the model's; its weights are its own.

    Args:
        model: A functional model of one input.
        layer: One of `stages_of(model)`.
    """
    passing = _passing(model, layer)
    behind = keras.Model(passing, model.output)
    if len(passing) == 1:
        inputs = keras.Input(passing[0].shape[1:], dtype="float32", name=layer)
        parts = [inputs]
    else:
        sizes = [_size(tensor) for tensor in passing]
        inputs = keras.Input((sum(sizes),), dtype="float32", name=layer)
        ends = np.cumsum(sizes)[:-1].tolist()
        parts = [
            ops.reshape(part, (-1, *tensor.shape[1:]))
            for part, tensor in zip(ops.split(inputs, ends, -1), passing, strict=True)
        ]
    copy = keras.models.clone_model(behind, parts)
    output = copy.get_layer(model.layers[-1].name).output
    return keras.Model(inputs, output, name=model.name)


def _passing(model, layer):
    """The output of a layer, and what else is needed behind it."""
    return [model.get_layer(layer).output, *_of_networks_inside(model)]


def _of_networks_inside(model):
    taken = [
        tensor
        for operation in model.operations
        if not isinstance(operation, keras.layers.InputLayer)
        for tensor in keras.tree.flatten(operation.input)
    ]
    return [t for t in taken if isinstance(t._keras_history.operation, keras.Model)]


def _size(tensor):
    return math.prod(tensor.shape[1:])
