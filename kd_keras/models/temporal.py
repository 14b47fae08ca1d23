"""A small stack of temporal convolutions, for features that another network extracted.

Each position of a map is convolved along time alone. The head looks at the mean of all
positions, for each quarter of the clip.
"""

import dataclasses
import itertools
import math

import keras
from keras import layers, ops

from kd_keras.models.arguments import (
    check_arguments,
    head_dtype,
    height_and_width,
    scale_filters,
)
from kd_keras.models.layer_weights import load_layer_weights


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A convolution along time, batch normalization and ReLU.

    Attributes:
        kernel: Time steps that it sees.
        residual: Whether its input is added before the ReLU.
    """

    name: str
    filters: int
    kernel: int
    residual: bool


STAGES = (
    _Stage("project", filters=512, kernel=1, residual=False),
    _Stage("temporal_1", filters=512, kernel=3, residual=True),
    _Stage("temporal_2", filters=512, kernel=3, residual=True),
    _Stage("temporal_3", filters=512, kernel=3, residual=True),
)

# Of a clip's time, which the head sees apart.
_NUM_PARTS = 4

ENDPOINTS = (*(stage.name for stage in STAGES), "Logits")


def TemporalConvolutions(
    num_classes: int,
    num_frames: int,
    image_size: int | tuple[int, int] = 1,
    channels: int = 2048,
    width: float = 1.0,
    dropout: float = 0.0,
    weights: str | None = None,
    batch_norm_momentum: float = 0.99,
    name: str = "temporal",
) -> keras.Model:
    """Builds a network from features over time to logits.

    Every endpoint (`ENDPOINTS`) is a layer of that name whose output is (batch, time,
    height, width, channels), with the time, the height and the width of the input.

    Args:
        num_classes: Number of logits.
        num_frames: Time steps of a clip.
        image_size: Height and width of the map of a time step; 1 for a vector.
        channels: Of the features, as many as there are.
        width: Scales every number of filters f to max(1, floor(f * width + 0.5)).
        dropout: Fraction of the pooled features dropped before the classifier.
        weights: What `load_layer_weights` reads, classifier included, or None for
            random weights.
        batch_norm_momentum: Decay of the moving statistics.
        name: Name of the model.
    Shapes:
        Input `clip`: (batch, time, height, width, channels), any values. Output: logits
        (batch, num_classes), float32 under mixed precision too.
    Raises:
        ValueError: If an argument is out of range or `weights` do not fit.
    Examples:
        >>> import numpy as np
        >>> import kd_keras
        >>> model = kd_keras.TemporalConvolutions(5, 16, channels=2048, width=0.1)
        >>> tuple(model(np.zeros((2, 16, 1, 1, 2048), "float32")).shape)
        (2, 5)
        >>> tuple(model.get_layer("temporal_3").output.shape)
        (None, 16, 1, 1, 51)
    """
    check_arguments(
        num_classes,
        num_frames,
        channels,
        width,
        dropout,
        batch_norm_momentum,
        of_pictures=False,
    )
    size = height_and_width(image_size)
    if None in (num_frames, *size) or channels < 1:
        raise ValueError(
            "num_frames, image_size and channels must be numbers, at least 1. Got "
            f"{num_frames}, {image_size} and {channels}."
        )
    inputs = keras.Input((num_frames, *size, channels), dtype="float32", name="clip")
    x = inputs
    for stage in STAGES:
        x = _add_stage(
            x, stage, scale_filters(stage.filters, width), batch_norm_momentum
        )
    model = keras.Model(inputs, _add_head(x, num_classes, dropout), name=name)
    if weights is not None:
        load_layer_weights(model, weights)
    return model


def _add_stage(x, stage: _Stage, filters: int, momentum: float):
    time, *size, channels = x.shape[1:]
    positions = math.prod(size)
    # Positions in one row: a picture as high as there are time steps.
    branch = layers.Reshape((time, positions, channels), name=f"{stage.name}_rows")(x)
    branch = layers.Conv2D(
        filters,
        (stage.kernel, 1),
        padding="same",
        use_bias=False,
        data_format="channels_last",
        name=f"{stage.name}_conv",
    )(branch)
    branch = layers.BatchNormalization(momentum=momentum, name=f"{stage.name}_bn")(
        branch
    )
    branch = layers.Reshape((time, *size, filters), name=f"{stage.name}_map")(branch)
    if stage.residual:
        branch = layers.Add(name=f"{stage.name}_add")([x, branch])
    return layers.ReLU(name=stage.name)(branch)


def _add_head(x, num_classes: int, dropout: float):
    dtype = head_dtype()
    time, height, width, _ = x.shape[1:]
    x = layers.AveragePooling3D(
        (1, height, width), data_format="channels_last", dtype=dtype, name="Logits_pool"
    )(x)
    # An action has an order: the head sees the quarters of a clip apart.
    num_parts = min(time, _NUM_PARTS)
    bounds = [time * part // num_parts for part in range(num_parts + 1)]
    parts = [
        ops.mean(x[:, first:end], (1, 2, 3))
        for first, end in itertools.pairwise(bounds)
    ]
    x = ops.concatenate(parts, axis=-1)
    x = layers.Dropout(dropout, dtype=dtype, name="Logits_dropout")(x)
    return layers.Dense(int(num_classes), dtype=dtype, name="Logits")(x)
