"""The augmented views of a pair, and clips as networks take them."""

import hashlib

import numpy as np
import tensorflow as tf

from kd_keras.data.clips import augment
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipReader
from kd_keras.data.segments import Pair

# Views that a pair can have.
MAX_VIEWS = 2**14


def read_view(
    pair: Pair,
    view: int,
    loader: ClipReader,
    augmentation: Augmentation,
    same_augmentation: bool,
) -> list[np.ndarray]:
    """The observed and the future clip of a view, as batches of clips show them.

    Returns:
        Two uint8 clips (time, size, size, channels); `normalize` makes them input.
    Raises:
        BadVideo: A clip cannot be read.
    """
    clips = [loader.load(clip) for clip in (pair.observed, pair.future)]
    params = view_params(pair, view, same_augmentation)
    return augmented(clips, params, loader.clip_format, augmentation)


def view_params(
    pair: Pair, view: int, same_augmentation: bool
) -> list[augment.AugmentationParams]:
    """The parameters of a view: a function of its two clips and its number alone."""
    name = repr((pair.observed, pair.future)).encode()
    number = int.from_bytes(hashlib.sha256(name).digest()[:6], "big")
    return pair_params(0, number * MAX_VIEWS + view, same_augmentation)


def pair_params(
    seed: int, number: int, same_augmentation: bool
) -> list[augment.AugmentationParams]:
    """The parameters of two clips; a function of a seed and a number alone."""
    first = augment.params_at(seed, 2 * number)
    if same_augmentation:
        return [first, first]
    return [first, augment.params_at(seed, 2 * number + 1)]


def augmented(clips, params, clip_format, augmentation):
    """The clips, each by its parameters; one clip alone by the first of two.

    Features stay as they are.
    """
    if isinstance(clip_format, FeatureFormat):
        return clips
    return [
        augment.augment(
            clip, clip_format.image_size, augmentation, one, clip_format.flow_encoding
        )
        for clip, one in zip(clips, params, strict=False)
    ]


def evaluated(clip, clip_format, corners=False):
    """What evaluation sees of a clip: the center, or it and the corners; all features.

    Args:
        corners: Whether to give `augment.five_crops`.
    """
    if isinstance(clip_format, FeatureFormat):
        return clip
    cut = augment.five_crops if corners else augment.center_crop
    return cut(clip, clip_format.image_size)


def normalize(clips: tf.Tensor, flow_scale: float = 1.0) -> tf.Tensor:
    """Turns levels of 0 to 255 into float32 in [-1, 1], for training and for serving.

    Args:
        flow_scale: As in `ClipFormat`.
    """
    # A quotient would be rounded one way in a graph and another way outside of it.
    clips = tf.cast(clips, tf.float32) * (1 / 127.5) - 1
    return clips if flow_scale == 1 else tf.clip_by_value(clips * flow_scale, -1.0, 1.0)


def as_input(clips: np.ndarray, clip_format: ClipFormat | FeatureFormat) -> tf.Tensor:
    """Clips of a loader as networks take them: normalized, or features as they are."""
    if isinstance(clip_format, FeatureFormat):
        return tf.convert_to_tensor(clips)
    return normalize(clips, clip_format.flow_scale)


def normalize_batch(batch: dict, flow_scale: float = 1.0) -> dict:
    """The batch with its uint8 clips normalized."""
    return {
        field: normalize(value, flow_scale) if _is_bytes(value) else value
        for field, value in batch.items()
    }


def _is_bytes(value):
    # Fields may be nested, such as a map with its self-attention; clips are not.
    return getattr(value, "dtype", None) == tf.uint8
