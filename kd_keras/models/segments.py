"""What 2D networks do with the segments of a clip: choose, fold and shift them."""

from keras import ops

# One part in so many of a map's channels moves forward in time, and one backward.
_SHIFTED = 8


def middles(num_frames: int, segments: int) -> list[int]:
    """Indices of the middle frames of equal parts of a clip."""
    return [(2 * i + 1) * num_frames // (2 * segments) for i in range(segments)]


def fold(x):
    """(batch, segments, height, width, channels) to (batch * segments, ...)."""
    return ops.reshape(x, (-1, *x.shape[2:]))


def unfold(x, segments: int):
    """(batch * segments, ...) to (batch, segments, ...)."""
    return ops.reshape(x, (-1, segments, *x.shape[1:]))


def shift(x):
    """Moves the first channels to the segment before, the next to the one after."""
    moved = max(1, x.shape[-1] // _SHIFTED)
    if x.shape[-1] <= 2 * moved:
        raise ValueError(
            f"A temporal shift needs maps of 3 channels or more. Got {x.shape[-1]}; "
            "raise width."
        )
    backward, forward, rest = ops.split(x, [moved, 2 * moved], axis=-1)
    still = [0, 0]
    backward = ops.pad(backward[:, 1:], [still, [0, 1], still, still, still])
    forward = ops.pad(forward[:, :-1], [still, [1, 0], still, still, still])
    return ops.concatenate([backward, forward, rest], axis=-1)
