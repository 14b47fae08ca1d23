"""The published I3D written again in NumPy: its variables by name and its endpoints."""

import json
import pathlib

import keras
import numpy as np
import pytest

# Filters of branch 0, branch 1 (two convolutions), branch 2 (two), branch 3.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}

# What stands before the published names, and what they are of.
STYLES = {
    "rgb": {"prefix": "RGB/inception_i3d/"},
    "flow": {"prefix": "Flow/inception_i3d/", "channels": 2},
    "kin600": {"prefix": "", "num_classes": 600, "with_slots": True},
    "hub": {"prefix": "module/RGB/inception_i3d/", "num_classes": 600},
}

_JSON = (
    pathlib.Path(__file__).resolve().parents[2]
    / "shared/data/i3d/checkpoint_variables.json"
)


def checkpoint_shapes(style: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes read off the index files of the published checkpoints."""
    if not _JSON.exists():
        pytest.skip("the list of the published checkpoints' variables is not here")
    shapes = json.loads(_JSON.read_text())[style]
    return {name: tuple(shape) for name, shape in shapes.items()}


def variable_shapes(
    prefix="", channels=3, num_classes=400, with_slots=False, divisor=1
) -> dict[str, tuple[int, ...]]:
    """The same written from the architecture, filters divided by `divisor`."""
    shapes = {}

    def conv(unit, kernel, filters_in, filters_out):
        names = [f"{unit}/conv_3d/w"]
        shapes[names[0]] = (kernel, kernel, kernel, filters_in, filters_out)
        for name in ("beta", "moving_mean", "moving_variance"):
            shape = (1, 1, 1, 1, filters_out) if with_slots else (filters_out,)
            shapes[f"{unit}/batch_norm/{name}"] = shape

    conv("Conv3d_1a_7x7", 7, channels, 64 // divisor)
    conv("Conv3d_2b_1x1", 1, 64 // divisor, 64 // divisor)
    conv("Conv3d_2c_3x3", 3, 64 // divisor, 192 // divisor)
    entering = 192 // divisor
    for name, published in MIXED.items():
        a, b1, b3, c1, c3, d = (filters // divisor for filters in published)
        last = "Conv3d_0a_3x3" if name == "Mixed_5b" else "Conv3d_0b_3x3"
        conv(f"{name}/Branch_0/Conv3d_0a_1x1", 1, entering, a)
        conv(f"{name}/Branch_1/Conv3d_0a_1x1", 1, entering, b1)
        conv(f"{name}/Branch_1/Conv3d_0b_3x3", 3, b1, b3)
        conv(f"{name}/Branch_2/Conv3d_0a_1x1", 1, entering, c1)
        conv(f"{name}/Branch_2/{last}", 3, c1, c3)
        conv(f"{name}/Branch_3/Conv3d_0b_1x1", 1, entering, d)
        entering = a + b3 + c3 + d
    shapes["Logits/Conv3d_0c_1x1/conv_3d/w"] = (1, 1, 1, entering, num_classes)
    shapes["Logits/Conv3d_0c_1x1/conv_3d/b"] = (num_classes,)
    if with_slots:
        shapes |= {
            f"{name}/Momentum": shape
            for name, shape in shapes.items()
            if "/moving_" not in name
        }
    return {prefix + name: shape for name, shape in shapes.items()}


def random_variables(shapes, seed=0) -> dict[str, np.ndarray]:
    """Values under which the features keep their size from stage to stage."""
    rng = np.random.default_rng(seed)

    def draw(name, shape):
        if name.endswith("moving_variance"):
            return rng.uniform(0.5, 2.0, shape)
        if name.endswith("/w"):
            return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        return rng.standard_normal(shape) * 0.2

    return {name: draw(name, shape).astype("f4") for name, shape in shapes.items()}


def write_checkpoint(prefix, variables) -> str:
    """Writes a checkpoint in the format and under exactly the names of TensorFlow 1."""
    import tensorflow as tf

    pathlib.Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        tensors=[tf.constant(value) for value in variables.values()],
    )
    return str(prefix)


def run(model, inputs):
    """What the model says, in NumPy.

    Op by op, JAX compiles each of them: there the model is compiled as a whole.
    """
    if keras.backend.backend() == "jax":
        return model.predict_on_batch(inputs)
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(inputs))


def endpoints(variables, clip, prefix="") -> dict[str, np.ndarray]:
    """All endpoints of the published network for a clip, in float64."""
    values = {
        name.removeprefix(prefix): np.asarray(value, np.float64)
        for name, value in variables.items()
    }

    def unit(x, name, stride=1):
        beta, mean, variance = (
            values[f"{name}/batch_norm/{v}"].reshape(-1)
            for v in ("beta", "moving_mean", "moving_variance")
        )
        x = conv3d(x, values[f"{name}/conv_3d/w"], stride)
        return np.maximum((x - mean) / np.sqrt(variance + 1e-3) + beta, 0)

    def mixed(x, name):
        last = "Conv3d_0a_3x3" if name == "Mixed_5b" else "Conv3d_0b_3x3"
        branch_1 = unit(x, f"{name}/Branch_1/Conv3d_0a_1x1")
        branch_2 = unit(x, f"{name}/Branch_2/Conv3d_0a_1x1")
        branches = (
            unit(x, f"{name}/Branch_0/Conv3d_0a_1x1"),
            unit(branch_1, f"{name}/Branch_1/Conv3d_0b_3x3"),
            unit(branch_2, f"{name}/Branch_2/{last}"),
            unit(max_pool(x, (3, 3, 3), (1, 1, 1)), f"{name}/Branch_3/Conv3d_0b_1x1"),
        )
        return np.concatenate(branches, axis=-1)

    found = {}
    x = np.asarray(clip, np.float64)
    x = found["Conv3d_1a_7x7"] = unit(x, "Conv3d_1a_7x7", 2)
    x = found["MaxPool3d_2a_3x3"] = max_pool(x, (1, 3, 3), (1, 2, 2))
    x = found["Conv3d_2b_1x1"] = unit(x, "Conv3d_2b_1x1")
    x = found["Conv3d_2c_3x3"] = unit(x, "Conv3d_2c_3x3")
    x = found["MaxPool3d_3a_3x3"] = max_pool(x, (1, 3, 3), (1, 2, 2))
    for name in ("Mixed_3b", "Mixed_3c"):
        x = found[name] = mixed(x, name)
    x = found["MaxPool3d_4a_3x3"] = max_pool(x, (3, 3, 3), (2, 2, 2))
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
        x = found[name] = mixed(x, name)
    x = found["MaxPool3d_5a_2x2"] = max_pool(x, (2, 2, 2), (2, 2, 2))
    for name in ("Mixed_5b", "Mixed_5c"):
        x = found[name] = mixed(x, name)
    found["Logits"] = head(
        x,
        values["Logits/Conv3d_0c_1x1/conv_3d/w"],
        values["Logits/Conv3d_0c_1x1/conv_3d/b"],
    )
    return found


def head(features, kernel, bias) -> np.ndarray:
    """Average pooling 2 x height x width, VALID, stride 1; classifier; mean in time."""
    logits = [
        features[:, t : t + 2].mean(axis=(1, 2, 3)) @ kernel[0, 0, 0] + bias
        for t in range(features.shape[1] - 1)
    ]
    return np.mean(logits, axis=0)


def conv3d(x, kernel, stride) -> np.ndarray:
    """Convolution with TensorFlow's SAME padding, one kernel offset at a time."""
    total = 0.0
    for offset, values in _windows(x, kernel.shape[:3], (stride,) * 3, 0.0):
        total = total + values @ kernel[offset]
    return total


def max_pool(x, window, strides) -> np.ndarray:
    best = -np.inf
    for _, values in _windows(x, window, strides, -np.inf):
        best = np.maximum(best, values)
    return best


def _windows(x, window, strides, fill):
    """What each offset of the window sees; SAME pads the odd element at the end."""
    sizes = x.shape[1:4]
    out = [-(-n // s) for n, s in zip(sizes, strides, strict=True)]
    pads = [
        max((o - 1) * s + k - n, 0)
        for n, k, s, o in zip(sizes, window, strides, out, strict=True)
    ]
    padded = np.pad(
        x,
        [(0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)],
        constant_values=fill,
    )
    for offset in np.ndindex(*window):
        spans = (
            slice(first, first + (o - 1) * s + 1, s)
            for first, o, s in zip(offset, out, strides, strict=True)
        )
        yield offset, padded[(slice(None), *spans)]
