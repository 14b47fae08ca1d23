"""R(2+1)D-18 as a table of stages, alone or with the visual attributes of the frames.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR
2018; the attributes join the head as in Miech et al., "Leveraging the Present to
Anticipate the Future in Videos", CVPR Workshops 2019. Layers are named as torchvision
names them, with _ for dots.
"""

import dataclasses

import keras
from keras import layers

from kd_keras.models.arguments import (
    check_arguments,
    head_dtype,
    height_and_width,
    scale_filters,
)
from kd_keras.models.layer_weights import load_layer_weights
from kd_keras.models.tsn import TSN

# Of RGB in 0..1, as the networks that torchvision trained on Kinetics saw it.
_KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
_KINETICS_DEVIATION = (0.22803, 0.22145, 0.216989)

_STEM_FILTERS, _STEM_MIDDLE = 64, 45


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Two residual blocks of two (2+1)D convolutions; the first block strides."""

    name: str
    filters: int
    strides: int


_STAGES = (
    _Stage("layer1", filters=64, strides=1),
    _Stage("layer2", filters=128, strides=2),
    _Stage("layer3", filters=256, strides=2),
    _Stage("layer4", filters=512, strides=2),
)

ENDPOINTS = (
    "stem",
    *(f"{stage.name}_{block}" for stage in _STAGES for block in (0, 1)),
    "Logits",
)


def R2Plus1D(
    num_classes: int,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.0,
    weights: str | None = None,
    attributes: keras.Model | None = None,
    batch_norm_momentum: float = 0.9,
    name: str = "r2plus1d",
) -> keras.Model:
    """Builds R(2+1)D-18 from Keras's own layers.

    Every endpoint (`ENDPOINTS`) is a layer of that name whose output is (batch, time,
    height, width, channels): the stem and the residual blocks.

    Args:
        num_classes: Number of logits.
        num_frames: Frames of a clip; None leaves it open.
        image_size: Pixels, one number or (height, width); None leaves it open.
        channels: 3 for RGB, 2 for optical flow.
        width: Scales every number of filters f to max(1, floor(f * width + 0.5)).
        dropout: Fraction of the pooled features dropped before the classifier.
        weights: What `load_layer_weights` reads, classifier included, or None for
            random weights.
        attributes: What `visual_attributes` built. It is frozen, becomes the layer
            `attributes`, and its scores join the features before the classifier.
        batch_norm_momentum: Decay of the moving statistics.
        name: Name of the model.
    Shapes:
        Input `clip`: (batch, time, height, width, channels) in [-1, 1]; RGB is
        normalized inside as the published weights saw it. Output: logits (batch,
        num_classes), float32 under mixed precision too.
    Raises:
        ValueError: If an argument is out of range or `weights` do not fit.
    Examples:
        >>> import numpy as np
        >>> import kd_keras
        >>> model = kd_keras.R2Plus1D(5, num_frames=4, image_size=16, width=0.05)
        >>> tuple(model(np.zeros((2, 4, 16, 16, 3), "float32")).shape)
        (2, 5)
        >>> tuple(model.get_layer("layer4_1").output.shape)
        (None, 1, 1, 1, 26)
    """
    check_arguments(
        num_classes, num_frames, channels, width, dropout, batch_norm_momentum
    )
    inputs = keras.Input(
        (num_frames, *height_and_width(image_size), channels),
        dtype="float32",
        name="clip",
    )
    conv_bn = _ConvBN(batch_norm_momentum)
    x = _add_stem(_normalize(inputs), conv_bn, width)
    for stage in _STAGES:
        filters = scale_filters(stage.filters, width)
        x = _add_block(x, f"{stage.name}_0", filters, stage.strides, conv_bn)
        x = _add_block(x, f"{stage.name}_1", filters, 1, conv_bn)
    scores = None
    if attributes is not None:
        attributes.trainable = False
        scores = attributes(inputs)
    outputs = _add_head(x, scores, num_classes, dropout)
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        load_layer_weights(model, weights)
    return model


def visual_attributes(
    num_frames: int,
    image_size: int | tuple[int, int],
    weights: str | None = "imagenet",
    num_attributes: int = 1000,
    width: float = 1.0,
) -> keras.Model:
    """Builds the frozen network whose scores of the observed frames are attributes.

    Args:
        num_frames: Frames of a clip; all of them are seen.
        image_size: Pixels, one number or (height, width).
        weights: "imagenet", a .h5 file of Keras Applications' ResNet-50 with its
            classifier, or a Keras file; None for random weights, which tests use.
        num_attributes: Classes of the classifier.
        width: Scales the filters; 1 for the published weights.
    Shapes:
        Clips (batch, num_frames, height, width, 3) in [-1, 1] to the class
        probabilities, averaged over frames: (batch, num_attributes), float32.
    """
    network = TSN(
        num_attributes,
        num_frames,
        image_size,
        width=width,
        weights=weights,
        segments=num_frames,
    )
    frames = network.get_layer("Logits_segments").output
    probabilities = layers.Softmax(dtype=head_dtype(), name="probabilities")(frames)
    scores = layers.GlobalAveragePooling1D(
        data_format="channels_last", dtype=head_dtype(), name="scores"
    )(probabilities)
    return keras.Model(network.input, scores, name="attributes")


def _normalize(x):
    if x.shape[-1] != 3:
        return x
    scale = [0.5 / deviation for deviation in _KINETICS_DEVIATION]
    offset = [
        (0.5 - mean) / deviation
        for mean, deviation in zip(_KINETICS_MEAN, _KINETICS_DEVIATION, strict=True)
    ]
    return layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(x)


class _ConvBN:
    """Adds convolutions with batch normalization to a network."""

    def __init__(self, momentum):
        self._momentum = momentum

    def __call__(self, x, conv, norm, filters, kernel, strides=1, activation=None):
        """Names the layers by themselves; `activation` is the name of the ReLU."""
        strides = strides if isinstance(strides, tuple) else (strides,) * 3
        padding = "same"
        if any(s > 1 and k > 1 for s, k in zip(strides, kernel, strict=True)):
            # SAME would pad unevenly, and otherwise than the published network.
            x = layers.ZeroPadding3D(
                tuple(k // 2 for k in kernel),
                data_format="channels_last",
                name=f"{conv}_pad",
            )(x)
            padding = "valid"
        x = layers.Conv3D(
            filters,
            kernel,
            strides,
            padding,
            data_format="channels_last",
            use_bias=False,
            name=conv,
        )(x)
        x = layers.BatchNormalization(momentum=self._momentum, epsilon=1e-5, name=norm)(
            x
        )
        return x if activation is None else layers.ReLU(name=activation)(x)

    def factored(self, x, name, norm, filters, middle, strides, activation=None):
        """A convolution over space, then one over time."""
        x = self(
            x, f"{name}_0", f"{name}_1", middle, (1, 3, 3), (1, strides, strides),
            activation=f"{name}_2",
        )  # fmt: skip
        return self(
            x, f"{name}_3", norm, filters, (3, 1, 1), (strides, 1, 1), activation
        )


def _add_stem(x, conv_bn: _ConvBN, width: float):
    middle, filters = (
        scale_filters(_STEM_MIDDLE, width),
        scale_filters(_STEM_FILTERS, width),
    )
    x = conv_bn(
        x, "stem_0", "stem_1", middle, (1, 7, 7), (1, 2, 2), activation="stem_2"
    )
    return conv_bn(x, "stem_3", "stem_4", filters, (3, 1, 1), activation="stem")


def _add_block(x, name: str, filters: int, strides: int, conv_bn: _ConvBN):
    entering = x.shape[-1]
    # As many weights as the 3x3x3 convolution that the two replace.
    middle = max(1, 27 * entering * filters // (9 * entering + 3 * filters))
    branch = conv_bn.factored(
        x, f"{name}_conv1_0", f"{name}_conv1_1", filters, middle, strides,
        activation=f"{name}_conv1_2",
    )  # fmt: skip
    branch = conv_bn.factored(
        branch, f"{name}_conv2_0", f"{name}_conv2_1", filters, middle, strides=1
    )
    if strides > 1:
        shortcut = f"{name}_downsample"
        x = conv_bn(x, f"{shortcut}_0", f"{shortcut}_1", filters, (1, 1, 1), strides)
    x = layers.Add(name=f"{name}_add")([x, branch])
    return layers.ReLU(name=name)(x)


def _add_head(x, scores, num_classes: int, dropout: float):
    dtype = head_dtype()
    x = layers.GlobalAveragePooling3D(
        data_format="channels_last", dtype=dtype, name="Logits_pool"
    )(x)
    if scores is not None:
        x = layers.Concatenate(dtype=dtype, name="Logits_joined")([x, scores])
    x = layers.Dropout(dropout, dtype=dtype, name="Logits_dropout")(x)
    return layers.Dense(int(num_classes), dtype=dtype, name="Logits")(x)
