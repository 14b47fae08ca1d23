"""Random crops, flips and colours, one draw for all frames of a clip."""

import dataclasses

import tensorflow as tf

_NUM_DRAWS = 6
# Luma of ITU-R BT.601, which grey means here.
_GREY = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is varied in training; every frame of a clip is changed alike.

    Attributes:
        crop: Cut the square out at random; otherwise the central one.
        flip: Probability of a mirror image, left for right. 0 where sides matter.
        brightness: b >= 0: adds a value from [-b, b] to colours in [0, 1].
        contrast: c in [0, 1]: scales the distance to the clip's mean grey by a factor
            from [1 - c, 1 + c].
        saturation: s in [0, 1]: scales the distance to the pixel's own grey by a
            factor from [1 - s, 1 + s].
    """

    crop: bool = True
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        for name in ("flip", "brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"{name} must lie in [0, 1]. Got {getattr(self, name)}."
                )


def draw(seed):
    """Uniform numbers that `augment` turns a clip with; a function of the seed (2,)."""
    return tf.random.stateless_uniform([_NUM_DRAWS], seed)


def augment(clip, image_size: int, augmentation: Augmentation, draws):
    """uint8 (time, height, width, 3) -> float32 (time, size, size, 3) in [-1, 1]."""
    top, left, flip, brightness, contrast, saturation = tf.unstack(draws)
    if augmentation.crop:
        clip = _crop(clip, image_size, top, left)
    else:
        clip = _centre(clip, image_size)
    if augmentation.flip:
        clip = tf.cond(flip < augmentation.flip, lambda: clip[:, :, ::-1], lambda: clip)
    clip = _to_float(clip)
    if augmentation.saturation:
        grey = tf.reduce_sum(clip * tf.constant(_GREY), axis=-1, keepdims=True)
        clip = grey + (clip - grey) * _factor(saturation, augmentation.saturation)
    if augmentation.contrast:
        grey = tf.tensordot(tf.reduce_mean(clip, axis=(0, 1, 2)), tf.constant(_GREY), 1)
        clip = grey + (clip - grey) * _factor(contrast, augmentation.contrast)
    if augmentation.brightness:
        # The range [-1, 1] is twice as wide as [0, 1].
        clip += 2 * (_factor(brightness, augmentation.brightness) - 1)
    if augmentation.saturation or augmentation.contrast or augmentation.brightness:
        clip = tf.clip_by_value(clip, -1.0, 1.0)
    return clip


def centre_crop(clip, image_size: int):
    """What evaluation sees: uint8 -> float32 (time, size, size, 3) in [-1, 1]."""
    return _to_float(_centre(clip, image_size))


def _crop(clip, image_size, top, left):
    """The square at relative position (top, left) in [0, 1) of all that fit."""
    room = tf.shape(clip)[1:3] - image_size
    offset = tf.cast(tf.stack([top, left]) * tf.cast(room + 1, tf.float32), tf.int32)
    return _square(clip, image_size, tf.minimum(offset, room))


def _centre(clip, image_size):
    return _square(clip, image_size, (tf.shape(clip)[1:3] - image_size) // 2)


def _square(clip, image_size, offset):
    begin = tf.concat([[0], offset, [0]], axis=0)
    return tf.slice(clip, begin, [clip.shape[0], image_size, image_size, 3])


def _to_float(clip):
    return tf.cast(clip, tf.float32) / 127.5 - 1.0


def _factor(uniform, strength):
    return 1.0 + strength * (2.0 * uniform - 1.0)
