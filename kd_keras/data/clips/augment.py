"""Random crops, mirror images and colors: the same for all frames of a clip.

Clips are 8-bit RGB or optical flow. The same parameters change both alike,
so that the flow of a clip still fits its frames; colors are changed in RGB alone.
"""

import dataclasses
import itertools
import math

import cv2
import numpy as np

from kd_keras.data.video.flow import I3D_FLOW, FlowEncoding

# Luma of ITU-R BT.601: the gray of a color.
GRAY = np.array([0.299, 0.587, 0.114])

# In bytes, as TensorFlow aligns its tensors.
_ALIGNMENT = 64


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What is varied in training; every frame of a clip is changed alike.

    Attributes:
        crop: Cut the square out at random; otherwise the central one.
        flip: Probability of a mirror image, left for right. 0 if sides matter.
        brightness: b in [0, 1]: adds a value from [-b, b] to colors in [0, 1].
        contrast: c in [0, 1]: scales the distance to the clip's mean gray by a factor
            from [1 - c, 1 + c].
        saturation: s in [0, 1]: scales the distance to the pixel's own gray by a
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


@dataclasses.dataclass(frozen=True)
class AugmentationParams:
    """Numbers in [0, 1) that decide how one clip is changed."""

    top: float
    left: float
    flip: float
    brightness: float
    contrast: float
    saturation: float


def params_at(seed: int, number: int) -> AugmentationParams:
    """The parameters of this number: a function of the two arguments alone."""
    key = np.array([seed % 2**64, number], np.uint64)
    uniform = np.random.Generator(np.random.Philox(key=key)).random(6)
    return AugmentationParams(*uniform.tolist())


def augment(
    clip: np.ndarray,
    image_size: int,
    augmentation: Augmentation,
    params: AugmentationParams,
    flow_encoding: FlowEncoding = I3D_FLOW,
) -> np.ndarray:
    """Crops, mirrors and colors a uint8 clip (time, height, width, channels).

    The crop lies at a relative position between the sides, so that clips of different
    sizes are cut alike. Colors are rounded to 8 bits.

    Args:
        clip: RGB (3 channels), or the levels of u and v of optical flow (2). A mirror
            image turns u around: what moved to the right moves to the left.
        flow_encoding: What the levels of flow mean.
    """
    channels = clip.shape[-1]
    place = (params.top, params.left) if augmentation.crop else None
    clip = _crop(clip, image_size, place)
    changed = _empty(clip.shape)
    if params.flip < augmentation.flip:
        for frame, mirrored in zip(clip, changed, strict=True):
            cv2.flip(frame, 1, dst=mirrored)
        if channels == 2:
            changed[..., 0] = flow_encoding.mirrored()[changed[..., 0]]
    else:
        changed[:] = clip
    if channels == 3 and (
        augmentation.brightness or augmentation.contrast or augmentation.saturation
    ):
        # OpenCV sees the frames as one tall picture.
        picture = changed.reshape(-1, image_size, channels)
        picture = cv2.transform(picture, _color_change(picture, augmentation, params))
        changed = picture.reshape(changed.shape)
    return changed


def center_crop(clip: np.ndarray, image_size: int) -> np.ndarray:
    """The central square, which evaluation sees."""
    return _crop(clip, image_size, None)


def five_crops(clip: np.ndarray, image_size: int) -> np.ndarray:
    """The central square and those in the corners, (5, time, ...)."""
    room = np.array(clip.shape[1:3]) - image_size
    places = [room // 2, *itertools.product(*((0, side) for side in room))]
    return np.stack([_cut(clip, image_size, *place) for place in places])


def _crop(clip, image_size, place):
    room = np.array(clip.shape[1:3]) - image_size
    if place is None:
        top, left = room // 2
    else:
        top, left = (np.array(place) * (room + 1)).astype(int)
    return _cut(clip, image_size, top, left)


def _cut(clip, image_size, top, left):
    return clip[:, top : top + image_size, left : left + image_size]


def _empty(shape):
    """Memory that TensorFlow takes as it is: what lies otherwise it copies."""
    size = math.prod(shape)
    room = np.empty(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].reshape(shape)


def _color_change(picture, augmentation, params):
    """Saturation, then contrast, then brightness, as one affine map (3, 4) of RGB."""
    saturation = _factor(params.saturation, augmentation.saturation)
    contrast = _factor(params.contrast, augmentation.contrast)
    added = 255 * (_factor(params.brightness, augmentation.brightness) - 1)
    # Saturation leaves the grays, so the mean gray can be taken before it.
    mean_gray = np.dot(GRAY, _mean(picture))
    mixed = saturation * np.eye(3) + (1 - saturation) * np.tile(GRAY, (3, 1))
    shift = (1 - contrast) * mean_gray + added
    return np.column_stack([contrast * mixed, np.full(3, shift)])


def _mean(picture):
    """Mean of each channel, in half the time of cv2.mean."""
    sums = cv2.reduce(picture, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
    return sums.sum(axis=(0, 1)) / (picture.shape[0] * picture.shape[1])


def _factor(uniform, strength):
    return 1 + strength * (2 * uniform - 1)
