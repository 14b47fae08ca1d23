"""The augmented views of a pair, and clips as networks take them."""

import hashlib

import numpy as np
import tensorflow as tf

from kd_keras.data.clips import augment
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.segments import Pair

# Views that a pair can have.
MAX_VIEWS = 2**14


def read_view(
    pair: Pair,
    view: int,
    loader: ClipLoader,
    augmentation: Augmentation,
    shared_draw: bool,
) -> list[np.ndarray]:
    """The observed and the future clip of a view, as `pair_dataset` with views shows.

    Returns:
        Two uint8 clips (time, size, size, channels); `to_input` makes them input.
    Raises:
        BadVideo: A clip cannot be read.
    """
    clips = [loader.load(clip) for clip in (pair.observed, pair.future)]
    draws = view_draws(pair, view, shared_draw)
    return augmented(clips, draws, loader.clip_format, augmentation)


def view_draws(pair: Pair, view: int, shared_draw: bool) -> list[augment.Draw]:
    """The draws of a view: a function of the two clips and its number alone."""
    name = repr((pair.observed, pair.future)).encode()
    number = int.from_bytes(hashlib.sha256(name).digest()[:6], "big")
    return draws_at(0, number * MAX_VIEWS + view, shared_draw)


def draws_at(seed: int, number: int, shared_draw: bool) -> list[augment.Draw]:
    """The draws of two clips; a function of a seed and a number alone."""
    first = augment.draw(seed, 2 * number)
    return [first, first if shared_draw else augment.draw(seed, 2 * number + 1)]


def augmented(clips, draws, clip_format, augmentation):
    """The clips, each by its draw; one clip alone by that of the first of two."""
    return [
        augment.augment(
            clip, clip_format.image_size, augmentation, draw, clip_format.flow_encoding
        )
        for clip, draw in zip(clips, draws, strict=False)
    ]


def to_input(clips: tf.Tensor, gain: float = 1.0) -> tf.Tensor:
    """uint8 -> float32 in [-1, 1]; `gain` is that of the `ClipFormat`."""
    # A quotient would be rounded one way in a graph and another way outside of it.
    clips = tf.cast(clips, tf.float32) * (1 / 127.5) - 1
    return clips if gain == 1 else tf.clip_by_value(clips * gain, -1.0, 1.0)


def bytes_to_input(batch: dict, gain: float = 1.0) -> dict:
    """The batch with `to_input` of its clips, where they are bytes still."""
    return {
        field: to_input(value, gain) if _is_bytes(value) else value
        for field, value in batch.items()
    }


def _is_bytes(value):
    # Fields may be nested, such as a map with its reading; clips are not.
    return getattr(value, "dtype", None) == tf.uint8
