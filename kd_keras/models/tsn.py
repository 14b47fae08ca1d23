"""2D networks over the segments of a clip: TSN, and TSM, which shifts channels in time.

Wang et al., "Temporal Segment Networks", ECCV 2016; Lin, Gan and Han, "TSM: Temporal
Shift Module for Efficient Video Understanding", ICCV 2019. The networks are ResNet-50
as Keras Applications has it, names and weights included, and a small one.
"""

import dataclasses

import keras
from keras import layers, ops

from kd_keras.models.arguments import (
    check_arguments,
    head_dtype,
    height_and_width,
    scale_filters,
)
from kd_keras.models.layer_weights import load_layer_weights

# What Keras Applications subtracts from red, green and blue in 0..255.
_IMAGENET_MEAN = (123.68, 116.779, 103.939)

# One part in so many of a map's channels moves forward in time, and one backward.
_SHIFTED = 8


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Residual blocks; the first strides."""

    name: str
    filters: int
    blocks: int
    strides: int


@dataclasses.dataclass(frozen=True)
class _Network:
    """A stem and its stages.

    Attributes:
        stem: Kernel and filters of the first convolution, which strides by 2.
        pool: Whether a 3x3 max pooling of stride 2 follows.
        bottleneck: Blocks of 1x1, 3x3 and 1x1 convolutions (the last with four times
            the filters), not of two 3x3 convolutions.
        imagenet: Takes frames as Keras Applications prepares them for its ResNet-50,
            and has biases in its convolutions.
    """

    stem: tuple[int, int]
    pool: bool
    bottleneck: bool
    imagenet: bool
    stages: tuple[_Stage, ...]


NETWORKS = {
    "resnet50": _Network(
        stem=(7, 64),
        pool=True,
        bottleneck=True,
        imagenet=True,
        stages=(
            _Stage("conv2", filters=64, blocks=3, strides=1),
            _Stage("conv3", filters=128, blocks=4, strides=2),
            _Stage("conv4", filters=256, blocks=6, strides=2),
            _Stage("conv5", filters=512, blocks=3, strides=2),
        ),
    ),
    "small": _Network(
        stem=(3, 32),
        pool=False,
        bottleneck=False,
        imagenet=False,
        stages=(
            _Stage("conv2", filters=32, blocks=1, strides=1),
            _Stage("conv3", filters=64, blocks=1, strides=2),
            _Stage("conv4", filters=128, blocks=1, strides=2),
            _Stage("conv5", filters=256, blocks=1, strides=2),
        ),
    ),
}


def endpoints(network: str) -> tuple[str, ...]:
    """Names of the layers that give the maps of a network, and of its logits."""
    blocks = (
        _endpoint(stage, block)
        for stage in NETWORKS[network].stages
        for block in range(1, stage.blocks + 1)
    )
    return (*blocks, "Logits")


def TSN(
    num_classes: int,
    num_frames: int,
    image_size: int | tuple[int, int],
    channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.0,
    weights: str | None = None,
    segments: int = 8,
    network: str = "resnet50",
    temporal_shift: bool = False,
    batch_norm_momentum: float = 0.99,
    name: str = "tsn",
) -> keras.Model:
    """Builds a 2D network over segments from Keras's own layers and operations.

    The clip is cut into equal segments and the network sees the middle frame of each;
    the logits are the mean over segments. Every residual block (`endpoints(network)`)
    is a layer whose output is (batch, segments, height, width, channels). Between
    them, segments are folded into the batch, for which the sizes must be known.

    Args:
        num_classes: Number of logits.
        num_frames: Frames of a clip, at least `segments`.
        image_size: Pixels, one number or (height, width).
        channels: 3 for RGB, 2 for optical flow.
        width: Scales every number of filters f to max(1, floor(f * width + 0.5)).
        dropout: Fraction of the pooled features of a segment that is dropped.
        weights: What `load_layer_weights` reads, classifier included ("imagenet": 1000
            classes), or None for random weights.
        segments: Frames that the network sees.
        network: `resnet50` or `small`, a few stages for small frames.
        temporal_shift: Makes it TSM: in every residual branch an eighth of the
            channels comes from the segment after, and an eighth from the one before.
        batch_norm_momentum: Decay of the moving statistics.
        name: Name of the model.
    Shapes:
        Input `clip`: (batch, num_frames, height, width, channels) in [-1, 1]. ResNet-50
        prepares it as Keras Applications does. Output: logits (batch, num_classes),
        float32 under mixed precision too.
    Raises:
        ValueError: If an argument is out of range or `weights` do not fit.
    Examples:
        >>> import numpy as np
        >>> import kd_keras
        >>> model = kd_keras.TSN(5, 8, 32, segments=4, network="small", width=0.1)
        >>> tuple(model(np.zeros((2, 8, 32, 32, 3), "float32")).shape)
        (2, 5)
        >>> tuple(model.get_layer("conv5_block1_out").output.shape)
        (None, 4, 2, 2, 26)
    """
    check_arguments(
        num_classes, num_frames, channels, width, dropout, batch_norm_momentum
    )
    height, width_px = height_and_width(image_size)
    if None in (num_frames, height, width_px):
        raise ValueError(
            "Frames are folded into the batch, so num_frames and image_size must be "
            f"numbers. Got {num_frames} and {image_size}."
        )
    if network not in NETWORKS:
        raise ValueError(f"network must be one of {[*NETWORKS]}. Got {network!r}.")
    if not 1 <= segments <= num_frames:
        raise ValueError(
            f"segments must be from 1 to num_frames, {num_frames}. Got {segments}."
        )
    table = NETWORKS[network]
    conv_bn = _ConvBN(width, table.imagenet, batch_norm_momentum)
    inputs = keras.Input(
        (num_frames, height, width_px, channels), dtype="float32", name="clip"
    )
    x = inputs
    if segments < num_frames:
        x = ops.take(x, _middles(num_frames, segments), axis=1)
    if table.imagenet:
        x = _as_keras_applications(x)
    x = _add_stem(x, table, conv_bn)
    for stage in table.stages:
        for block in range(1, stage.blocks + 1):
            strides = stage.strides if block == 1 else 1
            x = _add_block(
                x, _endpoint(stage, block), stage.filters, strides, table, conv_bn,
                projected=block == 1, shifted=temporal_shift,
            )  # fmt: skip
    model = keras.Model(inputs, _add_head(x, num_classes, dropout), name=name)
    if weights is not None:
        load_layer_weights(model, weights)
    return model


def TSM(
    num_classes: int,
    num_frames: int,
    image_size: int | tuple[int, int],
    name: str = "tsm",
    **options,
) -> keras.Model:
    """Builds `TSN` with the temporal shift module; the other options are its own.

    Examples:
        Unlike `TSN` it can tell a clip from the same clip backward.

        >>> import keras
        >>> import numpy as np
        >>> import kd_keras
        >>> keras.utils.set_random_seed(0)
        >>> random = np.random.default_rng(0)
        >>> clip = random.uniform(-1, 1, (1, 4, 16, 16, 3)).astype("float32")
        >>> both = np.concatenate([clip, clip[:, ::-1]])
        >>> for builder in (kd_keras.TSN, kd_keras.TSM):
        ...     model = builder(5, 4, 16, segments=4, network="small", width=0.1)
        ...     logits = keras.ops.convert_to_numpy(model(both))
        ...     print(model.name, np.allclose(logits[0], logits[1], rtol=1e-3))
        tsn True
        tsm False
    """
    return TSN(
        num_classes, num_frames, image_size, temporal_shift=True, name=name, **options
    )


def _endpoint(stage: _Stage, block: int) -> str:
    return f"{stage.name}_block{block}_out"


def _middles(num_frames: int, segments: int) -> list[int]:
    """Indices of the middle frames of equal parts of a clip."""
    return [(2 * i + 1) * num_frames // (2 * segments) for i in range(segments)]


def _as_keras_applications(x):
    """Frames in [-1, 1] as its ResNet-50 wants them: BGR in 0..255 less the mean."""
    if x.shape[-1] != 3:
        return layers.Rescaling(127.5, dtype="float32", name="preprocessing")(x)
    offset = [127.5 - mean for mean in _IMAGENET_MEAN]
    x = layers.Rescaling(127.5, offset, dtype="float32", name="preprocessing")(x)
    return ops.flip(x, axis=-1)


class _ConvBN:
    """Adds convolutions with batch normalization to a network."""

    def __init__(self, width, use_bias, momentum):
        self._width, self._use_bias, self._momentum = width, use_bias, momentum

    def __call__(self, x, name, filters, kernel, strides=1, activation=True):
        padding = "same"
        if strides > 1 and kernel == 1:
            # The same positions. oneDNN without AVX-512 computes the gradients of
            # such a convolution with a stride wrongly now and then.
            x, strides = x[:, ::strides, ::strides], 1
        elif strides > 1:
            # SAME would pad unevenly, and otherwise than the published networks.
            x = layers.ZeroPadding2D(
                kernel // 2, data_format="channels_last", name=f"{name}_pad"
            )(x)
            padding = "valid"
        x = layers.Conv2D(
            scale_filters(filters, self._width),
            kernel,
            strides,
            padding,
            data_format="channels_last",
            use_bias=self._use_bias,
            name=f"{name}_conv",
        )(x)
        x = layers.BatchNormalization(
            momentum=self._momentum, epsilon=1.001e-5, name=f"{name}_bn"
        )(x)
        return layers.ReLU(name=f"{name}_relu")(x) if activation else x


def _add_stem(x, table: _Network, conv_bn: _ConvBN):
    segments, (kernel, filters) = x.shape[1], table.stem
    x = conv_bn(_fold(x), "conv1", filters, kernel, strides=2)
    if table.pool:
        x = layers.ZeroPadding2D(1, data_format="channels_last", name="pool1_pad")(x)
        x = layers.MaxPooling2D(
            3, strides=2, data_format="channels_last", name="pool1_pool"
        )(x)
    return _unfold(x, segments)


def _add_block(x, endpoint, filters, strides, table, conv_bn, projected, shifted):
    name, segments = endpoint.removesuffix("_out"), x.shape[1]
    shortcut = _fold(x)
    branch = _fold(_shift(x)) if shifted else shortcut
    if table.bottleneck:
        leaving = 4 * filters
        branch = conv_bn(branch, f"{name}_1", filters, 1, strides)
        branch = conv_bn(branch, f"{name}_2", filters, 3)
        branch = conv_bn(branch, f"{name}_3", leaving, 1, activation=False)
    else:
        leaving = filters
        branch = conv_bn(branch, f"{name}_1", filters, 3, strides)
        branch = conv_bn(branch, f"{name}_2", filters, 3, activation=False)
    if projected:
        shortcut = conv_bn(shortcut, f"{name}_0", leaving, 1, strides, activation=False)
    x = layers.Add(name=f"{name}_add")([shortcut, branch])
    return layers.ReLU(name=endpoint)(_unfold(x, segments))


def _shift(x):
    """Moves the first channels to the segment before, the next to the one after."""
    moved = max(1, x.shape[-1] // _SHIFTED)
    if x.shape[-1] <= 2 * moved:
        raise ValueError(
            f"A temporal shift needs maps of 3 channels or more. Got {x.shape[-1]}; "
            "raise width."
        )
    backward, forward, rest = ops.split(x, [moved, 2 * moved], axis=-1)
    still = [0, 0]
    backward = ops.pad(backward[:, 1:], [still, [0, 1], still, still, still])
    forward = ops.pad(forward[:, :-1], [still, [1, 0], still, still, still])
    return ops.concatenate([backward, forward, rest], axis=-1)


def _fold(x):
    """(batch, segments, height, width, channels) to (batch * segments, ...)."""
    return ops.reshape(x, (-1, *x.shape[2:]))


def _unfold(x, segments: int):
    return ops.reshape(x, (-1, segments, *x.shape[1:]))


def _add_head(x, num_classes: int, dropout: float):
    dtype = head_dtype()
    segments, height, width, channels = x.shape[1:]
    x = layers.AveragePooling3D(
        (1, height, width),
        data_format="channels_last",
        dtype=dtype,
        name="Logits_pool",
    )(x)
    x = layers.Reshape((segments, channels), dtype=dtype, name="Logits_features")(x)
    x = layers.Dropout(dropout, dtype=dtype, name="Logits_dropout")(x)
    x = layers.Dense(num_classes, dtype=dtype, name="Logits_segments")(x)
    return layers.GlobalAveragePooling1D(
        data_format="channels_last", dtype=dtype, name="Logits"
    )(x)
