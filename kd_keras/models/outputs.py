"""What the outputs of a network are: logits, or probabilities already."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

# Half precision rounds each of the probabilities to 8 or 11 bits.
_TOLERANCE, _HALF_TOLERANCE = 1e-4, 1e-2
# Below this a probability is as good as zero; its logarithm is still a number.
_FLOOR = 1e-37
# What may follow a softmax, and leaves probabilities what they are.
_KEEPING = (
    layers.Reshape,
    layers.Flatten,
    layers.Identity,
    layers.Dropout,
    layers.Average,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)


def gives_probabilities(
    model: keras.Model, clip_shape: Sequence[int] | None = None
) -> bool:
    """Whether a network ends in a softmax, and so not in logits.

    Its structure tells: a last layer, activation or operation that is a softmax, also
    of a network inside of it. If a shape of clips is given, so do its outputs for
    two random ones: probabilities are never negative, and their sum is 1.

    Args:
        clip_shape: (time, height, width, channels), or the shape of what else the
            network takes, without the batch.
    Raises:
        ValueError: If it ends in a sigmoid: such numbers are neither.
    """
    last = _last_activation(model.outputs[0])
    if last == "sigmoid":
        raise ValueError(
            f"{model.name} ends in a sigmoid, whose outputs do not exclude each other. "
            "Expected logits, or probabilities of a softmax: remove the last "
            "activation, or train it with a softmax."
        )
    if last == "softmax" or clip_shape is None:
        return last == "softmax"
    clips = np.random.default_rng(0).uniform(-1, 1, (2, *clip_shape))
    values = model(clips.astype(np.float32), training=False)
    half = keras.backend.standardize_dtype(values.dtype) in ("float16", "bfloat16")
    values = ops.convert_to_numpy(ops.cast(values, "float32"))
    tolerance = _HALF_TOLERANCE if half else _TOLERANCE
    sums = values.sum(-1)
    return bool((values >= 0).all() and (np.abs(sums - 1) <= tolerance).all())


def as_probabilities(
    model: keras.Model, clip_shape: Sequence[int] | None = None
) -> keras.Model:
    """The network with float32 probabilities as its outputs; its weights are shared.

    One that gives them already, by `gives_probabilities`, gives the same ones.
    """
    outputs = ops.cast(model.outputs[0], "float32")
    if not gives_probabilities(model, clip_shape):
        outputs = ops.softmax(outputs)
    return keras.Model(model.inputs[0], outputs, name=model.name)


def as_logits(
    model: keras.Model, clip_shape: Sequence[int] | None = None
) -> keras.Model:
    """The network itself, or, if it ends in probabilities, one of their logarithms.

    These are logits: their softmax is the probabilities. Weights and layers are shared.
    """
    if not gives_probabilities(model, clip_shape):
        return model
    probabilities = ops.cast(model.outputs[0], "float32")
    logits = ops.log(ops.maximum(probabilities, _FLOOR))
    return keras.Model(model.inputs[0], logits, name=model.name)


def _last_activation(tensor) -> str | None:
    """`softmax`, `sigmoid` or None: what made a symbolic tensor."""
    operation, node, _ = tensor._keras_history
    if isinstance(operation, keras.Model):
        return _last_activation(operation.outputs[0])
    if isinstance(operation, layers.TimeDistributed):
        operation = operation.layer
    # The layer and the operation have one name.
    kind = type(operation).__name__.lower()
    if kind in ("softmax", "sigmoid"):
        axis = getattr(operation, "axis", -1)
        return kind if axis in (-1, len(tensor.shape) - 1) else None
    activation = getattr(operation, "activation", None)
    for name in ("softmax", "sigmoid"):
        if activation is getattr(keras.activations, name):
            return name
    linear = isinstance(operation, layers.Activation) and (
        activation is keras.activations.linear
    )
    kept = linear or kind in ("cast", "mean") or isinstance(operation, _KEEPING)
    if not kept:
        return None
    inputs = operation._inbound_nodes[node].input_tensors
    made_by = {_last_activation(each) for each in inputs}
    return made_by.pop() if len(made_by) == 1 else None
