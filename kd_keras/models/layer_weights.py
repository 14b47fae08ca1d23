"""Weights of any backbone by layer: from Keras files, ImageNet or PyTorch."""

import os
from collections.abc import Mapping

import keras
import numpy as np

from kd_keras.models.layer_groups import layer_groups
from kd_keras.models.torch_files import read_torch_arrays

IMAGENET = "imagenet"

_ACCEPTED = (
    f'a Keras .keras or .weights.h5 file; for ResNet-50 "{IMAGENET}" or a .h5 file of '
    "Keras Applications; for R(2+1)D a .pth file of torchvision"
)

_LAST_OF_RESNET_50 = "conv5_block3_out"
# The classifier's name in other people's networks.
_CLASSIFIERS = ("predictions", "fc")


def load_layer_weights(
    model: keras.Model, source: str | os.PathLike, include_head: bool = True
) -> None:
    """Sets every variable of a backbone, or nothing at all.

    Layers inside of a layer (the visual attributes) keep what they have. A first
    convolution that was trained on RGB is averaged over its channels if the model
    takes flow or gray (Wang et al. 2016).

    Args:
        model: What a builder of `kd_keras.models` made; I3D's published checkpoints
            have `load_i3d_weights`.
        source: A file of `model.save` or `model.save_weights`; "imagenet", which Keras
            Applications downloads and caches; its .h5 file; or the state of
            torchvision's `r2plus1d_18` (.pth).
        include_head: False leaves the classifier as it is, for another number of
            classes.
    Raises:
        ValueError: If there is no such source, or it lacks a layer of the model, or
            has another shape for it. The model is then unchanged.
    """
    source = os.fspath(source)
    # Found out before a download.
    if source == IMAGENET and _LAST_OF_RESNET_50 not in [
        layer.name for layer in model.layers
    ]:
        raise ValueError(
            f"There are no ImageNet weights of {model.name}, which is no ResNet-50. "
            f"Expected {_ACCEPTED}."
        )
    set_layers(model, _read(source, include_head), source, include_head)


def set_layers(
    model: keras.Model,
    stored: Mapping[str, list[np.ndarray]],
    source: str,
    include_head: bool,
) -> None:
    """Sets every variable of a backbone from arrays by layer, or nothing at all.

    Args:
        stored: The variables of each layer in Keras's order.
        source: Where they are from, for errors.
        include_head: As `load_layer_weights` takes it.
    Raises:
        ValueError: If a layer is missing or has another shape.
    """
    chosen = []
    for layer in model.layers:
        if not layer.weights or isinstance(layer, keras.Model):
            continue
        is_head = layer.name.startswith("Logits")
        if is_head and not include_head:
            continue
        names = (layer.name, *_CLASSIFIERS) if is_head else (layer.name,)
        arrays = next((stored[name] for name in names if name in stored), None)
        if arrays is None:
            raise ValueError(
                f"{source} lacks the layer {layer.name} of {model.name}. It holds "
                f"{len(stored)} layers: {', '.join([*stored][:3])}..."
            )
        chosen.append((layer, _fitted(layer, arrays, source)))
    for layer, arrays in chosen:
        layer.set_weights(arrays)


def _read(source: str, include_head: bool) -> Mapping[str, list[np.ndarray]]:
    """Returns the variables of every layer in Keras's order, by layer."""
    if source.endswith((".keras", ".weights.h5")):
        return _read_keras_file(source)
    if source == IMAGENET or source.endswith(".h5"):
        return _read_resnet50(source, include_head)
    if source.endswith((".pth", ".pt")):
        return layers_of_torch_file(source)
    raise ValueError(f"No weights at {source!r}. Expected {_ACCEPTED}.")


def _read_keras_file(path: str):
    with layer_groups(path, _ACCEPTED) as groups:
        return {
            group.attrs["name"]: [np.asarray(group[str(i)]) for i in range(len(group))]
            for group in groups
            if len(group) and "name" in group.attrs
        }


def _read_resnet50(source: str, include_head: bool):
    if source != IMAGENET and not os.path.isfile(source):
        raise ValueError(f"{source!r} does not exist. Expected {_ACCEPTED}.")
    with_top = include_head if source == IMAGENET else "notop" not in source
    try:
        network = keras.applications.ResNet50(weights=source, include_top=with_top)
    except Exception as error:  # Whatever the download or the file's reader raises.
        raise ValueError(
            f"Keras Applications has no ResNet-50 from {source!r}: {error}. Without a "
            "network, give the .h5 file that it would download."
        ) from error
    return {
        layer.name: layer.get_weights() for layer in network.layers if layer.weights
    }


def layers_of_torch_file(path: str) -> dict[str, list[np.ndarray]]:
    """The state of a PyTorch model; its layers by their names with _ for dots."""
    found = {}
    for name, array in read_torch_arrays(path).items():
        layer, _, variable = name.rpartition(".")
        if variable == "num_batches_tracked":
            continue
        if array.ndim > 1:
            # (out, in, ...) to (..., in, out).
            array = np.moveaxis(array, (0, 1), (-1, -2))
        # PyTorch writes weight, bias, mean, variance: Keras's order.
        found.setdefault(layer.replace(".", "_"), []).append(array)
    return found


def _fitted(layer, arrays, source) -> list[np.ndarray]:
    """Checks the shapes; makes a first convolution on RGB one on other channels."""
    expected = [tuple(weight.shape) for weight in layer.weights]
    given = [tuple(array.shape) for array in arrays]
    if given == expected:
        return arrays
    kernels = given[0], expected[0]
    if (
        given[1:] == expected[1:]
        and all(len(kernel) >= 4 for kernel in kernels)
        and kernels[0][-2] == 3
        and kernels[1][-2] in (1, 2)
        and kernels[0][:-2] + kernels[0][-1:] == kernels[1][:-2] + kernels[1][-1:]
    ):
        mean = arrays[0].mean(axis=-2, keepdims=True)
        return [np.broadcast_to(mean, expected[0]), *arrays[1:]]
    fix = "build the same network with the same width"
    if layer.name.startswith("Logits"):
        fix = "build the model with as many classes, or pass include_head=False"
    raise ValueError(
        f"{layer.name} has the shapes {given} in {source}, but {expected} in the "
        f"model; {fix}."
    )
