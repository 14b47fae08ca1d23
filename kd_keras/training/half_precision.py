"""Finds convolutions that half precision computes wrongly here, before training.

TensorFlow calls libraries that choose their code by processor and shape, and some of
that code is wrong. On processors with avx512_bf16, TensorFlow 2.17 returns garbage for
the gradient of the filters of a 3x3x3 convolution over two frames in bfloat16. The loss
shows such a fault late or never.
"""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    *_DEPTHWISE,
)
# Gaps above 1 of what the half precisions hold: 10 and 7 bits behind the point.
_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
# As large as is needed to run the code of the real shape, which goes by blocks of 16
# channels; with a picture as small as those of the last layers.
_BATCH, _MAX_SIDE = 2, 4
_CHANNELS = (32, 16, 8)
# Both precisions see the same rounded numbers, so that only the rounding of results and
# of partial sums differs: up to 3 epsilons of the norm, if those are in half precision,
# too. One wrong position of 27 is 0.2 of the norm, 25 epsilons of bfloat16.
_EPSILONS = 12
_NOT_THERE = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.UnimplementedError,
)
_NAMES = ("its output", "the gradient for its input", "the gradient for its filters")


@dataclasses.dataclass(frozen=True)
class Convolution:
    """The smallest convolution that stands for a layer. Equal ones are checked once.

    Attributes:
        shape: Of the input, with the batch.
        kernel: Shape of the kernel.
        options: The other arguments of `keras.ops.conv`, as pairs.
        dtype: The half precision.
        depthwise: Whether each channel is filtered by itself.
    """

    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    options: tuple[tuple[str, object], ...]
    dtype: str
    depthwise: bool = False

    def __str__(self):
        kernel = "x".join(map(str, self.kernel[:-2]))
        depth = f" over {self.shape[1]} frames" if len(self.shape) == 5 else ""
        return f"{kernel} {'depthwise ' * self.depthwise}convolution{depth}"


def require_device(policy: str) -> None:
    """Raises a ValueError if a dtype policy needs an accelerator, and there is none."""
    if keras.dtype_policies.get(policy).compute_dtype != "float16":
        return
    if all(d.device_type == "CPU" for d in tf.config.list_logical_devices()):
        raise ValueError(
            f"--dtype_policy={policy} needs a GPU, and TensorFlow sees none here: on a "
            "CPU it does not train convolutions in float16. Use mixed_bfloat16 or "
            "float32."
        )


def keep_right(model: keras.Model, clip_shape=None) -> dict[str, str]:
    """Switches layers to float32 if half precision computes them wrongly here.

    Every convolution in half precision is computed once on a few small random maps,
    with its real kernel, strides and number of frames. Output and gradients are
    compared with float32. A network in float32 is not checked.

    Args:
        model: A functional network. The dtype policies of its layers are changed, and
            are saved with it.
        clip_shape: (time, height, width, channels) of clips, for a model that leaves
            them open.
    Returns:
        What is wrong in half precision, by the name of the layer.
    """
    layers = list(_halves(model))
    if not layers:
        return {}
    shaped = model
    if clip_shape is not None and None in model.input_shape[1:]:
        shaped = keras.models.clone_model(
            model, input_tensors=keras.Input(clip_shape, dtype=model.inputs[0].dtype)
        )
    wrong = {}
    for layer, twin in zip(layers, list(_halves(shaped)), strict=True):
        convolution = _smallest(twin)
        problem = fault(convolution)
        if problem is not None:
            wrong[layer.name] = (
                f"{problem} of a {convolution} in {convolution.dtype} on this machine"
            )
            layer.dtype_policy = "float32"
    return wrong


@functools.cache
def fault(convolution: Convolution) -> str | None:
    """Says what is wrong with a convolution in half precision; None if nothing is."""
    dtype = tf.as_dtype(convolution.dtype)
    random = np.random.default_rng(0)
    inputs = [
        tf.cast(random.standard_normal(shape, np.float32), dtype)
        for shape in (convolution.shape, convolution.kernel)
    ]
    try:
        half = passes(convolution, *inputs)
    except _NOT_THERE:
        return "there is no code for some pass"
    full = passes(convolution, *(tf.cast(each, tf.float32) for each in inputs))
    bound = _EPSILONS * _EPSILON[convolution.dtype]
    for name, ours, right in zip(_NAMES, half, full, strict=True):
        ours, right = tf.cast(ours, tf.float32).numpy(), right.numpy()
        if not np.isfinite(ours).all():
            return f"{name} is not finite"
        off = float(np.linalg.norm(ours - right) / np.linalg.norm(right))
        if off > bound:
            return f"{name} is off by {off:.0%}"
    return None


def passes(convolution, maps, kernel):
    """The output, and the gradients for maps and kernel from the same one above it."""

    @tf.function(autograph=False)
    def run(maps, kernel):
        with tf.GradientTape() as tape:
            tape.watch((maps, kernel))
            conv = keras.ops.depthwise_conv if convolution.depthwise else keras.ops.conv
            output = conv(maps, kernel, **dict(convolution.options))
        above = tf.random.stateless_normal(tf.shape(output), seed=(0, 1))
        above = tf.cast(tf.cast(above, convolution.dtype), output.dtype)
        return output, *tape.gradient(output, (maps, kernel), above)

    return run.get_concrete_function(maps, kernel)(maps, kernel)


def _halves(model):
    """The convolutions of a network, and of those inside of it, in half precision."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _halves(layer)
        elif isinstance(layer, _CONVOLUTIONS) and layer.compute_dtype in _EPSILON:
            yield layer


def _fewer(channels):
    return next((few for few in _CHANNELS if channels >= few), channels)


def _smallest(layer):
    """The check of a layer."""
    first = layer.data_format == "channels_first"
    _, *sizes = layer.input.shape
    channels = sizes.pop(0 if first else -1)
    depthwise = isinstance(layer, _DEPTHWISE)
    if depthwise:
        channels = entering = _fewer(channels)
        filters = layer.depth_multiplier
    elif layer.groups == 1:
        channels = entering = _fewer(channels)
        filters = _fewer(layer.filters)
    else:
        entering, filters = channels // layer.groups, layer.filters
    reach = [
        (kernel - 1) * dilation + 1
        for kernel, dilation in zip(layer.kernel_size, layer.dilation_rate, strict=True)
    ]
    sides = [
        least if size is None else min(size, least)
        for size, least in zip(sizes, (max(_MAX_SIDE, r) for r in reach), strict=True)
    ]
    if len(sides) == 3 and sizes[0] is not None:
        # Frames are few, and which code runs depends on them.
        sides[0] = sizes[0]
    shape = (channels, *sides) if first else (*sides, channels)
    return Convolution(
        shape=(_BATCH, *shape),
        kernel=(*layer.kernel_size, entering, filters),
        options=(
            ("strides", layer.strides),
            ("padding", layer.padding),
            ("data_format", layer.data_format),
            ("dilation_rate", layer.dilation_rate),
        ),
        dtype=layer.compute_dtype,
        depthwise=depthwise,
    )
