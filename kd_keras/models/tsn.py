"""2D networks over the segments of a clip: TSN, and TSM, which shifts channels in time.

Wang et al., "Temporal Segment Networks", ECCV 2016; Lin, Gan and Han, "TSM: Temporal
Shift Module for Efficient Video Understanding", ICCV 2019. The networks are tables of
stages: ResNet-50 and a small one, and EfficientNet-Lite0.
"""

import keras
from keras import layers, ops

from kd_keras.models.arguments import (
    check_arguments,
    check_count,
    head_dtype,
    height_and_width,
)
from kd_keras.models.efficientnet_lite import EFFICIENTNET_LITE0
from kd_keras.models.residual import RESNET_50, SMALL
from kd_keras.models.segments import middles

# By the name that `TSN` takes.
NETWORKS = {
    "resnet50": RESNET_50,
    "small": SMALL,
    "efficientnet_lite0": EFFICIENTNET_LITE0,
}


def endpoints(network: str) -> tuple[str, ...]:
    """Names of the layers that give the maps of a network, and of its logits."""
    return (*NETWORKS[network].maps, "Logits")


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
    the logits are the mean over segments. Every block (`endpoints(network)`) is a layer
    whose output is (batch, segments, height, width, channels). Between them, segments
    are folded into the batch, for which the sizes must be known.

    Args:
        num_classes: Number of logits.
        num_frames: Frames of a clip, at least `segments`.
        image_size: Pixels, one number or (height, width).
        channels: 3 for RGB, 2 for optical flow.
        width: Scales every number of filters f to max(1, floor(f * width + 0.5)), or,
            of EfficientNet-Lite0, to a multiple of 8.
        dropout: Fraction of the pooled features of a segment that is dropped.
        weights: What `load_backbone_weights` reads, classifier included ("imagenet":
            1000 classes), or None for random weights.
        segments: Frames that the network sees.
        network: `resnet50`; `efficientnet_lite0`; or `small`, a few stages for small
            frames.
        temporal_shift: Makes it TSM: in every residual branch an eighth of the
            channels comes from the segment after, and an eighth from the one before. In
            EfficientNet-Lite0 these are the branches beside an identity.
        batch_norm_momentum: Decay of the moving statistics.
        name: Name of the model.
    Shapes:
        Input `clip`: (batch, num_frames, height, width, channels) in [-1, 1]. A network
        with ImageNet weights prepares it as they expect. Output: logits (batch,
        num_classes), float32 under mixed precision too.
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
    check_count("segments", segments)
    if not 1 <= segments <= num_frames:
        raise ValueError(
            f"segments must be from 1 to num_frames, {num_frames}. Got {segments}."
        )
    inputs = keras.Input(
        (num_frames, height, width_px, channels), dtype="float32", name="clip"
    )
    x = inputs
    if segments < num_frames:
        x = ops.take(x, middles(num_frames, segments), axis=1)
    x = NETWORKS[network](x, width, batch_norm_momentum, temporal_shift)
    model = keras.Model(inputs, _add_head(x, num_classes, dropout), name=name)
    if weights is not None:
        NETWORKS[network].load_weights(model, weights)
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
    x = layers.Dense(int(num_classes), dtype=dtype, name="Logits_segments")(x)
    return layers.GlobalAveragePooling1D(
        data_format="channels_last", dtype=dtype, name="Logits"
    )(x)
