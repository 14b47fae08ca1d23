"""2D residual networks over segments as tables of stages.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016: ResNet-50 as Keras
Applications has it, names and weights included, and a small network.
"""

import dataclasses

from keras import layers, ops

from kd_keras.models.arguments import scale_filters
from kd_keras.models.layer_weights import load_layer_weights
from kd_keras.models.segments import fold, shift, unfold

# What Keras Applications subtracts from red, green and blue in 0..255.
_IMAGENET_MEAN = (123.68, 116.779, 103.939)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Residual blocks; the first strides."""

    name: str
    filters: int
    blocks: int
    strides: int


@dataclasses.dataclass(frozen=True)
class ResidualNetwork:
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
    stages: tuple[Stage, ...]
    load_weights = staticmethod(load_layer_weights)

    @property
    def maps(self) -> tuple[str, ...]:
        """The layers that end a block, each with a map over segments."""
        return tuple(
            _endpoint(stage, block)
            for stage in self.stages
            for block in range(1, stage.blocks + 1)
        )

    def __call__(self, x, width: float, momentum: float, shifted: bool):
        """Adds the network to frames (batch, segments, height, width, channels).

        Args:
            x: In [-1, 1].
            width: Scales the filters.
            momentum: Decay of the moving statistics of batch normalization.
            shifted: Whether every residual branch begins with the temporal shift.
        """
        conv_bn = _ConvBN(width, self.imagenet, momentum)
        if self.imagenet:
            x = _as_keras_applications(x)
        x = _add_stem(x, self, conv_bn)
        for stage in self.stages:
            for block in range(1, stage.blocks + 1):
                strides = stage.strides if block == 1 else 1
                x = _add_block(
                    x, _endpoint(stage, block), stage.filters, strides, self, conv_bn,
                    projected=block == 1, shifted=shifted,
                )  # fmt: skip
        return x


RESNET_50 = ResidualNetwork(
    stem=(7, 64),
    pool=True,
    bottleneck=True,
    imagenet=True,
    stages=(
        Stage("conv2", filters=64, blocks=3, strides=1),
        Stage("conv3", filters=128, blocks=4, strides=2),
        Stage("conv4", filters=256, blocks=6, strides=2),
        Stage("conv5", filters=512, blocks=3, strides=2),
    ),
)

SMALL = ResidualNetwork(
    stem=(3, 32),
    pool=False,
    bottleneck=False,
    imagenet=False,
    stages=(
        Stage("conv2", filters=32, blocks=1, strides=1),
        Stage("conv3", filters=64, blocks=1, strides=2),
        Stage("conv4", filters=128, blocks=1, strides=2),
        Stage("conv5", filters=256, blocks=1, strides=2),
    ),
)


def _endpoint(stage: Stage, block: int) -> str:
    return f"{stage.name}_block{block}_out"


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


def _add_stem(x, table: ResidualNetwork, conv_bn: _ConvBN):
    segments, (kernel, filters) = x.shape[1], table.stem
    x = conv_bn(fold(x), "conv1", filters, kernel, strides=2)
    if table.pool:
        x = layers.ZeroPadding2D(1, data_format="channels_last", name="pool1_pad")(x)
        x = layers.MaxPooling2D(
            3, strides=2, data_format="channels_last", name="pool1_pool"
        )(x)
    return unfold(x, segments)


def _add_block(x, endpoint, filters, strides, table, conv_bn, projected, shifted):
    name, segments = endpoint.removesuffix("_out"), x.shape[1]
    shortcut = fold(x)
    branch = fold(shift(x)) if shifted else shortcut
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
    return layers.ReLU(name=endpoint)(unfold(x, segments))
