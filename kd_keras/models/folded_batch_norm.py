"""Folds batch normalization into the convolutions before it, for inference.

A trained BatchNorm multiplies every channel by one number and adds another. Both can be
done by the convolution before it: its kernel is scaled, and its bias takes the rest
(Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2).
"""

import collections
from collections.abc import Iterable

import keras
import numpy as np
from keras import layers, ops

_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)


def fold_batch_norm(model: keras.Model, keep: Iterable[str] = ()) -> keras.Model:
    """Returns an equal network for inference, with fewer operations.

    A convolution and the BatchNorm behind it become one convolution with a bias.
    Reshapes between the two may stand: they do not mix channels. The BatchNorm's place
    is taken by an identity of its name, so every layer is still found by its name; the
    convolution's own output is what the BatchNorm gave.

    Everything else stays: a BatchNorm that follows something else, a convolution with
    an activation or whose output is used elsewhere, and both in half precision, which
    would round other numbers. Networks inside of the network are folded, too.

    Args:
        model: A functional or sequential network, which is not changed.
        keep: Names of layers whose outputs must stay what they are, because they are
            read. No convolution of these names is folded.
    Returns:
        The same outputs up to rounding, 1e-5 of their size, from weights of its own; or
        `model` itself if there is nothing to fold.
    Examples:
        >>> import kd_keras
        >>> from kd_keras.models.folded_batch_norm import fold_batch_norm
        >>> model = kd_keras.TSN(5, 4, 16, segments=2, network="small", width=0.1)
        >>> folded = fold_batch_norm(model)
        >>> folded.get_layer("conv1_bn")
        <Identity name=conv1_bn, built=True>
        >>> folded.get_layer("conv1_conv").use_bias
        True
    """
    given = model
    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "_nodes_by_depth"):
        # Written as a class, it has no graph to look into.
        return given
    pairs = _pairs(model, frozenset(keep))
    inner = {
        layer: fold_batch_norm(layer)
        for layer in model.layers
        if isinstance(layer, keras.Model)
    }
    if not pairs and all(folded is layer for layer, folded in inner.items()):
        return given
    norms = {norm.name for norm in pairs.values()}

    def twin(operation):
        if not isinstance(operation, keras.Layer):
            return operation
        if operation in inner:
            return inner[operation]
        if operation.name in norms:
            return layers.Identity(
                name=operation.name, dtype=operation.dtype_policy.name
            )
        config = operation.get_config()
        if operation in pairs:
            config["use_bias"] = True
        return type(operation).from_config(config)

    def call(operation, *arguments, **options):
        # An identity knows neither masks nor training, which BatchNorm is told of.
        options = {} if isinstance(operation, layers.Identity) else options
        return operation(*arguments, **options)

    folded = keras.models.clone_model(model, clone_function=twin, call_function=call)
    for layer in model.layers:
        if layer in pairs:
            folded.get_layer(layer.name).set_weights(_weights(layer, pairs[layer]))
        elif layer.weights and layer not in inner and layer.name not in norms:
            folded.get_layer(layer.name).set_weights(layer.get_weights())
    return folded


def _pairs(model, keep) -> dict[keras.Layer, keras.Layer]:
    """The BatchNorm of every convolution that can take it."""
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    calls = collections.Counter(node.operation for node in nodes)
    readers = collections.Counter(map(id, model.outputs))
    for node in nodes:
        readers.update(map(id, node.input_tensors))
    pairs = {}
    for node in nodes:
        norm = node.operation
        if not _is_foldable_norm(norm, node) or calls[norm] != 1:
            continue
        path = _path_to_convolution(node.input_tensors[0])
        operations = [tensor._keras_history.operation for tensor in path]
        if (
            path
            and all(readers[id(tensor)] == 1 for tensor in path)
            and all(operation.name not in keep for operation in operations)
            and calls[operations[-1]] == 1
        ):
            pairs[operations[-1]] = norm
    return pairs


def _is_foldable_norm(norm, node) -> bool:
    return (
        type(norm) is layers.BatchNormalization
        and norm.axis in (-1, len(node.input_tensors[0].shape) - 1)
        and not norm.renorm
        and not node.arguments.kwargs.get("training")
        and not _is_half(norm)
    )


def _path_to_convolution(tensor) -> list:
    """The tensors from one back to a convolution's output; none if there is none."""
    path = [tensor]
    while True:
        operation, node, _ = tensor._keras_history
        if type(operation) in _CONVOLUTIONS:
            return path if _can_take_bias(operation) else []
        # The layer and the operation have one name.
        if type(operation).__name__ != "Reshape":
            return []
        channels = tensor.shape[-1]
        (tensor,) = operation._inbound_nodes[node].input_tensors
        if tensor.shape[-1] != channels:
            return []
        path.append(tensor)


def _can_take_bias(convolution) -> bool:
    return (
        convolution.data_format == "channels_last"
        and convolution.activation is keras.activations.linear
        # No others, such as those of LoRA.
        and len(convolution.weights) == 1 + convolution.use_bias
        and not _is_half(convolution)
    )


def _is_half(layer) -> bool:
    return "16" in layer.compute_dtype


def _weights(convolution, norm) -> list[np.ndarray]:
    """Kernel and bias of a convolution that does what both layers do."""
    kernel, *bias = map(_float64, convolution.weights)
    scale = 1 / np.sqrt(_float64(norm.moving_variance) + norm.epsilon)
    if norm.gamma is not None:
        scale *= _float64(norm.gamma)
    offset = (bias[0] if bias else 0) - _float64(norm.moving_mean)
    offset = offset * scale
    if norm.beta is not None:
        offset += _float64(norm.beta)
    if isinstance(convolution, _DEPTHWISE):
        # Its channels come one after the other, each with its multiples.
        scale = scale.reshape(kernel.shape[-2:])
    return [kernel * scale, offset]


def _float64(variable) -> np.ndarray:
    return ops.convert_to_numpy(variable).astype(np.float64)
