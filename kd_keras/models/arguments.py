"""What the builders of all backbones check and compute in the same way."""

import math
import numbers

import keras


def check_arguments(
    num_classes: int,
    num_frames: int | None,
    channels: int,
    width: float,
    dropout: float,
    batch_norm_momentum: float,
    min_frames: int = 1,
    of_pictures: bool = True,
) -> None:
    """Raises a ValueError that names the first argument out of range.

    Args:
        of_pictures: Whether the input has the channels of pictures, and not any.
    """
    check_count("num_classes", num_classes)
    check_count("channels", channels)
    if num_frames is not None:
        check_count("num_frames", num_frames)
    fractions = {
        "width": width,
        "dropout": dropout,
        "batch_norm_momentum": batch_norm_momentum,
    }
    for name, fraction in fractions.items():
        if not isinstance(fraction, numbers.Real):
            raise ValueError(f"{name} must be a number. Got {fraction!r}.")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1. Got {num_classes}.")
    if num_frames is not None and num_frames < min_frames:
        raise ValueError(
            f"num_frames must be at least {min_frames}. Got {num_frames}; repeat or "
            "resample the frames of shorter clips."
        )
    if of_pictures and channels not in (1, 2, 3):
        raise ValueError(
            f"channels must be 3 (RGB), 2 (optical flow) or 1 (gray). Got {channels}."
        )
    if not 0 < width < math.inf:
        raise ValueError(f"width must be positive and finite. Got {width}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1). Got {dropout}.")
    if not 0 <= batch_norm_momentum < 1:
        raise ValueError(
            f"batch_norm_momentum must be in [0, 1). Got {batch_norm_momentum}."
        )


def check_count(name: str, value: int) -> None:
    """Raises unless it is a whole number, of Python or of NumPy."""
    if not _is_count(value):
        raise ValueError(f"{name} must be a whole number. Got {value!r}.")


def _is_count(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def height_and_width(image_size) -> tuple[int | None, int | None]:
    """Both sides in pixels from one number or a pair; None is an open side."""
    sides = image_size if isinstance(image_size, tuple | list) else (image_size,) * 2
    known = [side for side in sides if side is not None]
    if len(sides) != 2 or not all(_is_count(side) and side >= 1 for side in known):
        raise ValueError(
            f"image_size must be pixels, or their (height, width). Got {image_size}."
        )
    return tuple(sides)


def scale_filters(published: int, width: float) -> int:
    """The number of filters of a network `width` times as wide."""
    return max(1, math.floor(published * width + 0.5))


def head_dtype() -> str | None:
    """The dtype policy of a head: float32 if the network computes in half precision.

    Sums of many half-precision features lose digits that decide between classes.
    """
    half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
    return "float32" if half else None
