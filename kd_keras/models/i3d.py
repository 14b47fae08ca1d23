"""The Inflated 3D Inception network (I3D) as a table of named stages.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the
Kinetics Dataset", CVPR 2017. Names, kernels and filters are those of the published
checkpoints.
"""

import dataclasses
from collections.abc import Callable

import keras
from keras import layers

from kd_keras.models.arguments import (
    check_arguments,
    head_dtype,
    height_and_width,
    scale_filters,
)
from kd_keras.models.i3d_weights import load_i3d_weights

# Shortest clip of which two time steps reach the head, which averages pairs of them.
MIN_FRAMES = 9


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution, batch normalization and ReLU."""

    name: str
    filters: int
    kernel: int
    strides: int = 1


@dataclasses.dataclass(frozen=True)
class Pool:
    """A maximum over windows (time, height, width)."""

    name: str
    window: tuple[int, int, int]
    strides: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Mixed:
    """Four branches side by side; a pair is a 1x1x1 convolution before a 3x3x3 one."""

    name: str
    branch_0: int
    branch_1: tuple[int, int]
    branch_2: tuple[int, int]
    branch_3: int
    # The published Mixed_5b calls this one Conv3d_0a_3x3.
    branch_2_second: str = "Conv3d_0b_3x3"

    @property
    def filters(self) -> tuple[int, ...]:
        return self.branch_0, self.branch_1[1], self.branch_2[1], self.branch_3


STAGES = (
    Conv("Conv3d_1a_7x7", filters=64, kernel=7, strides=2),
    Pool("MaxPool3d_2a_3x3", window=(1, 3, 3), strides=(1, 2, 2)),
    Conv("Conv3d_2b_1x1", filters=64, kernel=1),
    Conv("Conv3d_2c_3x3", filters=192, kernel=3),
    Pool("MaxPool3d_3a_3x3", window=(1, 3, 3), strides=(1, 2, 2)),
    Mixed("Mixed_3b", 64, (96, 128), (16, 32), 32),
    Mixed("Mixed_3c", 128, (128, 192), (32, 96), 64),
    Pool("MaxPool3d_4a_3x3", window=(3, 3, 3), strides=(2, 2, 2)),
    Mixed("Mixed_4b", 192, (96, 208), (16, 48), 64),
    Mixed("Mixed_4c", 160, (112, 224), (24, 64), 64),
    Mixed("Mixed_4d", 128, (128, 256), (24, 64), 64),
    Mixed("Mixed_4e", 112, (144, 288), (32, 64), 64),
    Mixed("Mixed_4f", 256, (160, 320), (32, 128), 128),
    Pool("MaxPool3d_5a_2x2", window=(2, 2, 2), strides=(2, 2, 2)),
    Mixed("Mixed_5b", 256, (160, 320), (32, 128), 128, "Conv3d_0a_3x3"),
    Mixed("Mixed_5c", 384, (192, 384), (48, 128), 128),
)

ENDPOINTS = (*(stage.name for stage in STAGES), "Logits")


def I3D(
    num_classes: int = 400,
    num_frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    channels: int = 3,
    width: float = 1.0,
    dropout: float = 0.0,
    weights: str | None = None,
    start: str | None = None,
    batch_norm_momentum: float = 0.999,
    name: str = "i3d",
) -> keras.Model:
    """Builds I3D, or its tail, from Keras's own layers.

    Every endpoint (`ENDPOINTS`) is a layer of that name: of a convolution the output
    after batch normalization and ReLU, of a Mixed stage the concatenation. The head
    averages the whole image and pairs of neighboring time steps, as the published
    2x7x7 pooling does at 224 pixels, so the first and the last step count half. The
    classifier is linear: averaging over time before it gives the published logits,
    which are averaged after it.

    Args:
        num_classes: Number of logits.
        num_frames: Frames of a clip, at least 9; None leaves it open, and fewer give
            NaN then.
        image_size: Pixels, one number or (height, width); None leaves it open.
        channels: 3 for RGB, 2 for optical flow.
        width: Scales every number of filters f to max(1, floor(f * width + 0.5)).
        dropout: Fraction of the pooled features dropped before the classifier; one
            mask for the whole clip.
        weights: What `load_i3d_weights` reads, or None for random weights.
        start: Endpoint whose stored features the model is fed instead of a clip: the
            tail behind that endpoint, its layers named as in the whole network.
            `num_frames` and `image_size` still describe the clip.
        batch_norm_momentum: Decay of the moving statistics. 0.999 is the published
            one; 0.9 to 0.99 suit a short training from scratch.
        name: Name of the model.
    Shapes:
        Input `clip`: (batch, time, height, width, channels) in [-1, 1]; with `start`,
        an input named as the endpoint. Output: logits (batch, num_classes), float32
        under mixed precision too.
    Raises:
        ValueError: If an argument is out of range or `weights` do not fit.
    Examples:
        >>> import numpy as np
        >>> import kd_keras
        >>> model = kd_keras.I3D(num_classes=5, num_frames=9, image_size=32, width=0.05)
        >>> clips = np.zeros((2, 9, 32, 32, 3), "float32")
        >>> tuple(model(clips).shape)
        (2, 5)
        >>> tuple(model.get_layer("Mixed_5c").output.shape)
        (None, 2, 1, 1, 50)
    """
    check_arguments(
        num_classes,
        num_frames,
        channels,
        width,
        dropout,
        batch_norm_momentum,
        min_frames=MIN_FRAMES,
    )
    starts = ENDPOINTS[:-1]
    if start is not None and start not in starts:
        raise ValueError(f"start must be one of {', '.join(starts)}. Got {start!r}.")

    def filters(published: int) -> int:
        return scale_filters(published, width)

    done = 0 if start is None else ENDPOINTS.index(start) + 1
    inputs = keras.Input(
        _feature_shape(STAGES[:done], num_frames, image_size, channels, filters),
        dtype="float32",
        name="clip" if start is None else start,
    )
    x = inputs
    for stage in STAGES[done:]:
        x = _add_stage(x, stage, filters, batch_norm_momentum)
    model = keras.Model(inputs, _add_head(x, num_classes, dropout), name=name)
    if weights is not None:
        load_i3d_weights(model, weights)
    return model


def _feature_shape(done, num_frames, image_size, channels, filters) -> tuple:
    """Shape, without the batch, of what enters the network after the stages `done`."""
    shape = (num_frames, *height_and_width(image_size))
    for stage in done:
        if isinstance(stage, Mixed):
            channels = sum(map(filters, stage.filters))
            continue
        if isinstance(stage, Conv):
            channels = filters(stage.filters)
        shape = tuple(
            None if size is None else -(-size // stride)
            for size, stride in zip(shape, _triple(stage.strides), strict=True)
        )
    return (*shape, channels)


def _triple(size) -> tuple[int, int, int]:
    return size if isinstance(size, tuple) else (size,) * 3


def _add_stage(x, stage, filters: Callable[[int], int], momentum: float):
    if isinstance(stage, Pool):
        return _max_pool(x, stage.name, stage.window, stage.strides)
    if isinstance(stage, Conv):
        return _conv(
            x, stage.name, filters(stage.filters), stage.kernel, stage.strides, momentum
        )

    def conv(x, unit, published, kernel):
        unit = f"{stage.name}_{unit}"
        return _conv(x, unit, filters(published), kernel, 1, momentum)

    first_1, second_1 = stage.branch_1
    first_2, second_2 = stage.branch_2
    branch_0 = conv(x, "Branch_0_Conv3d_0a_1x1", stage.branch_0, 1)
    branch_1 = conv(x, "Branch_1_Conv3d_0a_1x1", first_1, 1)
    branch_1 = conv(branch_1, "Branch_1_Conv3d_0b_3x3", second_1, 3)
    branch_2 = conv(x, "Branch_2_Conv3d_0a_1x1", first_2, 1)
    branch_2 = conv(branch_2, f"Branch_2_{stage.branch_2_second}", second_2, 3)
    branch_3 = _max_pool(x, f"{stage.name}_Branch_3_MaxPool3d_0a_3x3", 3, 1)
    branch_3 = conv(branch_3, "Branch_3_Conv3d_0b_1x1", stage.branch_3, 1)
    return layers.Concatenate(name=stage.name)([branch_0, branch_1, branch_2, branch_3])


def _conv(x, name: str, filters: int, kernel: int, strides: int, momentum: float):
    x = layers.Conv3D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        data_format="channels_last",
        name=f"{name}_conv_3d",
    )(x)
    x = layers.BatchNormalization(
        momentum=momentum, epsilon=1e-3, scale=False, name=f"{name}_batch_norm"
    )(x)
    return layers.ReLU(name=name)(x)


def _max_pool(x, name: str, window, strides):
    return layers.MaxPooling3D(
        window, strides, padding="same", data_format="channels_last", name=name
    )(x)


def _add_head(x, num_classes: int, dropout: float):
    dtype = head_dtype()
    x = layers.AveragePooling3D(
        (2, 1, 1),
        strides=1,
        data_format="channels_last",
        dtype=dtype,
        name="Logits_AvgPool3d_0a_2",
    )(x)
    x = layers.GlobalAveragePooling3D(
        keepdims=True,
        data_format="channels_last",
        dtype=dtype,
        name="Logits_AvgPool3d_0b_global",
    )(x)
    x = layers.Dropout(dropout, dtype=dtype, name="Logits_Dropout_0b")(x)
    x = layers.Conv3D(
        num_classes,
        1,
        data_format="channels_last",
        dtype=dtype,
        name="Logits_Conv3d_0c_1x1_conv_3d",
    )(x)
    return layers.Reshape((num_classes,), dtype=dtype, name="Logits")(x)
