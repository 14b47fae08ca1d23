"""EfficientNet-Lite0 over segments written again in NumPy, from variables by layer."""

import numpy as np

from tests.residual_networks import normalize, shift

# Kernel, stride, expansion and number of blocks of each stage, as published.
_STAGES = (
    (3, 1, 1, 1),
    (3, 2, 6, 2),
    (5, 2, 6, 2),
    (3, 2, 6, 3),
    (5, 1, 6, 3),
    (5, 2, 6, 4),
    (3, 1, 6, 1),
)


def efficientnet_lite0(values, frames, shifted=False):
    """Maps and logits, by endpoint, of prepared frames (batch, segments, h, w, c)."""

    def unit(x, conv, norm, strides=1, relu=True, depthwise=False):
        x = _convolve(x, values[conv][0], strides, depthwise)
        x = normalize(x, values[norm], 1e-3)
        return np.clip(x, 0, 6) if relu else x

    found = {}
    x = unit(np.asarray(frames, np.float64), "stem_conv", "stem_bn", strides=2)
    for stage, (_, strides, expansion, blocks) in enumerate(_STAGES, 1):
        for block in range(blocks):
            name, entering = f"block{stage}{'abcd'[block]}", x
            if shifted and block:
                x = shift(x)
            if expansion > 1:
                x = unit(x, f"{name}_expand_conv", f"{name}_expand_bn")
            x = unit(
                *(x, f"{name}_dwconv", f"{name}_bn"),
                strides=1 if block else strides,
                depthwise=True,
            )
            x = unit(x, f"{name}_project_conv", f"{name}_project_bn", relu=False)
            if block:
                x = found[f"{name}_add"] = x + entering
            else:
                found[f"{name}_project_bn"] = x
    x = found["top_activation"] = unit(x, "top_conv", "top_bn")
    kernel, bias = values["Logits_segments"]
    return found | {"Logits": (x.mean(axis=(2, 3)) @ kernel + bias).mean(axis=1)}


def _convolve(x, kernel, strides, depthwise):
    """With TensorFlow's SAME padding: of an odd number of rows, more at the end."""
    sides = x.shape[2:4]
    leaving = [-(-side // strides) for side in sides]
    pads = [
        max((out - 1) * strides + k - side, 0)
        for out, k, side in zip(leaving, kernel.shape, sides, strict=False)
    ]
    pads = [(pad // 2, pad - pad // 2) for pad in pads]
    x = np.pad(x, [(0, 0), (0, 0), *pads, (0, 0)])
    total = 0
    for i, j in np.ndindex(*kernel.shape[:2]):
        rows, columns = (
            slice(first, first + (out - 1) * strides + 1, strides)
            for first, out in zip((i, j), leaving, strict=True)
        )
        seen = x[:, :, rows, columns]
        total = total + (
            seen * kernel[i, j, :, 0] if depthwise else seen @ kernel[i, j]
        )
    return total
