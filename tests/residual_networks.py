"""ResNets over segments and R(2+1)D written again in NumPy, from variables by layer."""

import keras
import numpy as np


def randomize(model, seed=0) -> dict[str, list[np.ndarray]]:
    """Sets weights under which features keep their size; returns them by layer."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.2, size),
                    rng.standard_normal(size) * 0.2,
                    rng.standard_normal(size) * 0.2,
                    rng.uniform(0.5, 2, size),
                ]
            )
        elif layer.weights and not isinstance(layer, keras.Model):
            shapes = [tuple(weight.shape) for weight in layer.weights]
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            entering = shapes[0][: 2 if depthwise else -1]
            kernel = rng.standard_normal(shapes[0]) * np.sqrt(2 / np.prod(entering))
            biases = [rng.standard_normal(shape) * 0.2 for shape in shapes[1:]]
            layer.set_weights([kernel, *biases])
    return {
        layer.name: [np.asarray(w, np.float64) for w in layer.get_weights()]
        for layer in model.layers
        if layer.weights
    }


def assert_maps_equal(found, expected):
    """Compares maps by endpoint, in units of the largest number of each."""
    assert {*found} == {*expected}
    for name, value in found.items():
        scale = np.abs(expected[name]).max()
        assert 0.05 < scale < 1e5  # neither dead nor exploded
        np.testing.assert_allclose(
            value / scale, expected[name] / scale, atol=2e-5, err_msg=name
        )


def resnet(values, frames, blocks, bottleneck, pool, shifted=False):
    """Maps and logits, by endpoint, of prepared frames (batch, segments, h, w, c)."""

    def unit(x, name, strides=1, relu=True):
        kernel, *bias = values[f"{name}_conv"]
        x = convolve(x, kernel[None], (1, strides, strides)) + sum(bias)
        x = normalize(x, values[f"{name}_bn"], 1.001e-5)
        return np.maximum(x, 0) if relu else x

    found = {}
    x = unit(np.asarray(frames, np.float64), "conv1", strides=2)
    if pool:
        x = max_pool(x)
    for stage, number in enumerate(blocks, 2):
        for block in range(1, number + 1):
            name = f"conv{stage}_block{block}"
            strides = 2 if block == 1 and stage > 2 else 1
            branch = shift(x) if shifted else x
            branch = unit(branch, f"{name}_1", strides)
            branch = unit(branch, f"{name}_2", relu=bottleneck)
            if bottleneck:
                branch = unit(branch, f"{name}_3", relu=False)
            if block == 1:
                x = unit(x, f"{name}_0", strides, relu=False)
            x = found[f"{name}_out"] = np.maximum(x + branch, 0)
    kernel, bias = values["Logits_segments"]
    by_segment = [x[:, t].mean(axis=(1, 2)) @ kernel + bias for t in range(x.shape[1])]
    return found | {"Logits": sum(by_segment) / len(by_segment)}


def r2plus1d(values, clip):
    """Maps and logits of normalized clips, by endpoint."""

    def unit(x, conv, norm, strides=(1, 1, 1)):
        x = convolve(x, values[conv][0], strides)
        return normalize(x, values[norm], 1e-5)

    def factored(x, name, norm, strides):
        x = unit(x, f"{name}_0", f"{name}_1", (1, strides, strides))
        return unit(np.maximum(x, 0), f"{name}_3", norm, (strides, 1, 1))

    found = {}
    x = unit(np.asarray(clip, np.float64), "stem_0", "stem_1", (1, 2, 2))
    x = found["stem"] = np.maximum(unit(np.maximum(x, 0), "stem_3", "stem_4"), 0)
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name = f"layer{stage}_{block}"
            strides = 2 if stage > 1 and block == 0 else 1
            branch = factored(x, f"{name}_conv1_0", f"{name}_conv1_1", strides)
            branch = np.maximum(branch, 0)
            branch = factored(branch, f"{name}_conv2_0", f"{name}_conv2_1", 1)
            if strides == 2:
                down = f"{name}_downsample"
                x = unit(x, f"{down}_0", f"{down}_1", (2, 2, 2))
            x = found[name] = np.maximum(x + branch, 0)
    found["pooled"] = x.mean(axis=(1, 2, 3))
    return found


def shift(x):
    """An eighth of the channels is the next segment's, an eighth the last one's."""
    eighth = max(1, x.shape[-1] // 8)
    shifted = x.copy()
    for t in range(x.shape[1]):
        after = x[:, t + 1] if t + 1 < x.shape[1] else np.zeros_like(x[:, t])
        before = x[:, t - 1] if t > 0 else np.zeros_like(x[:, t])
        shifted[:, t, ..., :eighth] = after[..., :eighth]
        shifted[:, t, ..., eighth : 2 * eighth] = before[..., eighth : 2 * eighth]
    return shifted


def normalize(x, variables, epsilon):
    gamma, beta, mean, variance = variables
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def convolve(x, kernel, strides):
    """Convolution with half the kernel as padding on each side, offset by offset."""
    return sum(
        values @ kernel[offset]
        for offset, values in _windows(x, kernel.shape[:3], strides)
    )


def max_pool(x):
    """3x3, stride 2, of maps that follow a ReLU: zeros around them never win."""
    return np.max([v for _, v in _windows(x, (1, 3, 3), (1, 2, 2))], axis=0)


def _windows(x, window, strides):
    pads = [(0, 0), *((k // 2, k // 2) for k in window), (0, 0)]
    padded = np.pad(x, pads)
    sizes = [
        (n + 2 * (k // 2) - k) // s + 1
        for n, k, s in zip(x.shape[1:4], window, strides, strict=True)
    ]
    for offset in np.ndindex(*window):
        spans = (
            slice(first, first + (size - 1) * s + 1, s)
            for first, size, s in zip(offset, sizes, strides, strict=True)
        )
        yield offset, padded[(slice(None), *spans)]
