"""TV-L1 optical flow in TensorFlow operations, for many pairs of frames at once.

Zach, Pock and Bischof published the method ("A duality based approach for realtime
TV-L1 optical flow", 2007). This is the form of Sánchez, Meinhardt-Llopis and Facciolo
(IPOL, 2013). Settings, pyramid, interpolation and order of the steps follow OpenCV's
DualTVL1 with its defaults, from which the result differs by hundredths of a pixel.

Flow and what belongs to it has its two components first: (2, batch, height, width).
"""

import functools

import numpy as np
import tensorflow as tf

# OpenCV's defaults, under the names of the paper.
TAU, LAMBDA, THETA = 0.25, 0.15, 0.3
NUM_SCALES, SCALE_STEP = 5, 0.8
NUM_WARPS, OUTER_ITERATIONS, INNER_ITERATIONS = 5, 10, 30
# Pixels that the flow of a frame moves in an iteration, as a root mean square, below
# which the iteration ends.
EPSILON_PX = 0.01
MEDIAN_SIDE_PX = 5
# No scale of the pyramid is smaller.
_LEAST_SIDE_PX = 16

# Frames are warped by cubic interpolation at multiples of 1/32 pixel.
_STEPS_PER_PX = 32.0
_CUBIC_SHARPNESS = -0.75

# Of `compute`: some 20 arrays of the size of their flow are in memory.
_PAIRS_AT_A_TIME = 16

# Weights of red, green and blue in 2^15 parts.
_GRAY_WEIGHTS, _GRAY_SHIFT = (9798, 19235, 3735), 15


def tvl1_flow(before: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Flow from each frame to the one after it, in pixels of these frames.

    Shapes:
        before, after: Gray levels 0 to 255 of any type, (batch, height, width), both
            sizes at least 16. They need not be known before the graph runs.
        result: float32 (batch, height, width, 2): u, to the right, and v, downwards.
    """
    before, after = tf.cast(before, tf.float32), tf.cast(after, tf.float32)
    sizes = _sizes(tf.shape(before)[1:])
    coarsest = tf.shape(sizes)[0] - 1
    batch = tf.shape(before)[:1]
    flow = tf.zeros(tf.concat([[2], batch, sizes[coarsest]], axis=0))

    def refine(scale, flow):
        pictures = [_at_scale(frames, sizes, scale) for frames in (before, after)]
        flow = _refined(flow, *pictures)
        finer = tf.maximum(scale - 1, 0)
        return scale - 1, _upsampled(flow, sizes[scale], sizes[finer])

    _, flow = tf.while_loop(
        lambda scale, flow: scale >= 0,
        refine,
        (coarsest, flow),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([2, None, None, None])),
    )
    return tf.transpose(flow, (1, 2, 3, 0))


def compute(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`tvl1_flow` of uint8 arrays, some pairs at a time, from any number of threads."""
    session, inputs, flow = _session()
    parts = [
        session.run(flow, dict(zip(inputs, (before[some], after[some]), strict=True)))
        for start in range(0, len(before), _PAIRS_AT_A_TIME)
        for some in [slice(start, start + _PAIRS_AT_A_TIME)]
    ]
    return np.concatenate(parts)


def as_gray(frames: tf.Tensor) -> tf.Tensor:
    """uint8 RGB (..., 3) -> uint8 gray (...), with OpenCV's rounding."""
    parts = tf.reduce_sum(tf.cast(frames, tf.int32) * _GRAY_WEIGHTS, axis=-1)
    half = 1 << (_GRAY_SHIFT - 1)
    return tf.cast(tf.bitwise.right_shift(parts + half, _GRAY_SHIFT), tf.uint8)


@functools.cache
def _session():
    with tf.Graph().as_default() as graph:
        inputs = [
            tf.compat.v1.placeholder(tf.uint8, (None, None, None)) for _ in range(2)
        ]
        flow = tvl1_flow(*inputs)
    # With threads of its own: readers hold tf.data's threads while they wait for flow.
    config = tf.compat.v1.ConfigProto(use_per_session_threads=True)
    return tf.compat.v1.Session(graph=graph, config=config), inputs, flow


# The pyramid.


def _sizes(size):
    """Height and width of each scale (scales, 2), the finest first."""
    sizes = [size]
    for _ in range(1, NUM_SCALES):
        scaled = tf.round(tf.cast(sizes[-1], tf.float64) * SCALE_STEP)
        sizes.append(tf.cast(scaled, tf.int32))
    sizes = tf.stack(sizes)
    is_large_enough = tf.reduce_all(sizes >= _LEAST_SIDE_PX, axis=1)
    # The finest is used however small it is.
    count = tf.maximum(tf.reduce_sum(tf.cast(is_large_enough, tf.int32)), 1)
    return sizes[:count]


def _at_scale(frames, sizes, scale):
    """Frames (batch, height, width), each scale resized from the one before it."""

    def shrink(done, pictures):
        return done + 1, _resized(pictures, sizes[done + 1], 1 / SCALE_STEP)

    _, pictures = tf.while_loop(
        lambda done, pictures: done < scale,
        shrink,
        (0, frames),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None, None])),
    )
    return pictures


def _upsampled(flow, size, finer):
    """The flow of a scale in pixels of the next finer one; unchanged at the finest."""

    def upsample():
        pictures = tf.reshape(flow, tf.concat([[-1], size], axis=0))
        ratios = tf.cast(size, tf.float64) / tf.cast(finer, tf.float64)
        shape = tf.concat([tf.shape(flow)[:2], finer], axis=0)
        return tf.reshape(_resized(pictures, finer, ratios), shape) / SCALE_STEP

    # Not `==`: in a graph outside of tf.function it compares objects.
    is_finest = tf.reduce_all(tf.equal(size, finer))
    return tf.cond(is_finest, lambda: flow, upsample)


def _resized(pictures, size, ratios):
    """Interpolates linearly; neighbors only, so that shrinking averages no areas.

    Args:
        pictures: (batch, height, width).
        size: The new height and width.
        ratios: Old pixels per new pixel, one number or one for each of the two.
    """
    ratios = tf.broadcast_to(tf.cast(ratios, tf.float64), [2])
    for axis in (1, 2):
        positions = tf.cast(tf.range(size[axis - 1]), tf.float64) + 0.5
        positions = positions * ratios[axis - 1] - 0.5
        last = tf.shape(pictures)[axis] - 1
        positions = tf.clip_by_value(positions, 0.0, tf.cast(last, tf.float64))
        left = tf.cast(tf.floor(positions), tf.int32)
        share = tf.cast(positions - tf.floor(positions), tf.float32)
        share = share[:, None] if axis == 1 else share
        before = tf.gather(pictures, left, axis=axis)
        after = tf.gather(pictures, tf.minimum(left + 1, last), axis=axis)
        pictures = before + (after - before) * share
    return pictures


# One scale.


def _refined(flow, before, after):
    """Warps `after` by the flow so far and minimizes what is left, several times."""
    after_and_gradient = tf.stack([after, *_central_differences(after)], axis=-1)

    def warp(count, flow, dual_x, dual_y):
        warped, *gradient = tf.unstack(_warped(after_and_gradient, flow), axis=-1)
        gradient = tf.stack(gradient)
        residual = warped - before - tf.reduce_sum(gradient * flow, axis=0)
        return count + 1, *_minimized(flow, dual_x, dual_y, gradient, residual)

    zeros = tf.zeros_like(flow)
    _, flow, _, _ = tf.while_loop(
        lambda count, *_: count < NUM_WARPS, warp, (0, flow, zeros, zeros)
    )
    return flow


def _central_differences(pictures):
    """Half the difference of both neighbors; the border continues as it ends."""
    padded = tf.pad(pictures, [[0, 0], [1, 1], [1, 1]], "SYMMETRIC")
    x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * 0.5
    y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * 0.5
    return x, y


def _warped(pictures, flow):
    """Cubic interpolation of (batch, height, width, channels); 0 beyond the border."""
    shape = tf.shape(pictures)
    batch, height, width = shape[0], shape[1], shape[2]
    # A pixel of zeros around each picture stands for all that is outside.
    padded = tf.pad(pictures, [[0, 0], [1, 1], [1, 1], [0, 0]])
    flat = tf.reshape(padded, (-1, pictures.shape[-1]))
    first = tf.range(batch)[:, None, None] * (height + 2) * (width + 2)
    columns = tf.cast(tf.range(width), tf.float32) + flow[0]
    rows = tf.cast(tf.range(height), tf.float32)[:, None] + flow[1]
    row_taps = list(_cubic_taps(rows, height))
    result = 0.0
    for column, column_weight in _cubic_taps(columns, width):
        for row, row_weight in row_taps:
            taken = tf.gather(flat, first + row * (width + 2) + column)
            result += taken * (row_weight * column_weight)[..., None]
    return result


def _cubic_taps(positions, size):
    """The four pixels that a position is interpolated of: places and weights."""
    steps = tf.round(positions * _STEPS_PER_PX)
    # What lies far outside sees zeros only, wherever it is.
    steps = tf.clip_by_value(
        steps, -4 * _STEPS_PER_PX, tf.cast(size + 4, tf.float32) * _STEPS_PER_PX
    )
    whole = tf.floor(steps / _STEPS_PER_PX)
    share = steps / _STEPS_PER_PX - whole
    place = tf.cast(whole, tf.int32)
    near, far = _cubic_near, _cubic_far
    weights = far(share + 1), near(share), near(1 - share), far(2 - share)
    for offset, weight in enumerate(weights, start=-1):
        yield tf.clip_by_value(place + offset, -1, size) + 1, weight


def _cubic_near(distance):
    """Keys's kernel up to a distance of 1."""
    a = _CUBIC_SHARPNESS
    return ((a + 2) * distance - (a + 3)) * distance * distance + 1


def _cubic_far(distance):
    """Keys's kernel from a distance of 1 to 2."""
    a = _CUBIC_SHARPNESS
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


# One warp.


def _minimized(flow, dual_x, dual_y, gradient, residual):
    """Iterates for each pair until its flow rests; returns flow and dual variables.

    Args:
        gradient: Of the warped frame, like the flow.
        residual: (batch, height, width), the part of the brightness error that does
            not depend on the flow.
    """
    squared = tf.reduce_sum(gradient * gradient, axis=0)
    inverse = tf.math.divide_no_nan(1.0, squared)
    pixels = tf.cast(tf.reduce_prod(tf.shape(residual)[1:]), tf.float64)
    enough = EPSILON_PX * EPSILON_PX * pixels

    def iterate(count, is_moving, flow, dual_x, dual_y):
        moved = _thresholded(flow, gradient, residual, inverse)
        moved += THETA * _divergence(dual_x, dual_y)
        change = _sum_of_pairs(tf.math.squared_difference(moved, flow))
        moved_x, moved_y = _ascended(moved, dual_x, dual_y)
        goes_on = is_moving[None, :, None, None]
        flow = tf.where(goes_on, moved, flow)
        dual_x = tf.where(goes_on, moved_x, dual_x)
        dual_y = tf.where(goes_on, moved_y, dual_y)
        return count + 1, is_moving & (change > enough), flow, dual_x, dual_y

    def smooth_and_iterate(count, is_moving, flow, *dual):
        goes_on = is_moving[None, :, None, None]
        flow = tf.where(goes_on, _median(flow), flow)
        _, is_moving, flow, *dual = tf.while_loop(
            lambda count, is_moving, *_: (
                (count < INNER_ITERATIONS) & tf.reduce_any(is_moving)
            ),
            iterate,
            (0, is_moving, flow, *dual),
        )
        return count + 1, is_moving, flow, *dual

    is_moving = tf.ones(tf.shape(residual)[:1], tf.bool)
    _, _, *result = tf.while_loop(
        lambda count, is_moving, *_: (
            (count < OUTER_ITERATIONS) & tf.reduce_any(is_moving)
        ),
        smooth_and_iterate,
        (0, is_moving, flow, dual_x, dual_y),
    )
    return result


def _sum_of_pairs(values):
    """(2, batch, height, width) -> (batch,), rounded alike in every batch."""
    rows = tf.reduce_sum(values, axis=3)
    return tf.reduce_sum(tf.cast(rows, tf.float64), axis=(0, 2))


def _thresholded(flow, gradient, residual, inverse):
    """The flow near the given one that explains the brightness (TH of the paper)."""
    error = residual + gradient[0] * flow[0] + gradient[1] * flow[1]
    limit = LAMBDA * THETA
    return flow - gradient * tf.clip_by_value(error * inverse, -limit, limit)


def _ascended(flow, dual_x, dual_y):
    """A step of the dual variables along the gradient of the flow."""
    x = tf.pad(flow[..., 1:] - flow[..., :-1], [[0, 0], [0, 0], [0, 0], [0, 1]])
    y = tf.pad(flow[..., 1:, :] - flow[..., :-1, :], [[0, 0], [0, 0], [0, 1], [0, 0]])
    step = TAU / THETA
    # Dividing once and multiplying twice would be faster, but TensorFlow's reciprocal
    # rounds differently at the end of an array, that is, in another batch.
    shrink = 1.0 + step * tf.sqrt(x * x + y * y)
    return (dual_x + step * x) / shrink, (dual_y + step * y) / shrink


def _divergence(dual_x, dual_y):
    """Differences to the left and upper neighbor, which is 0 outside."""
    left = tf.pad(dual_x[..., :-1], [[0, 0], [0, 0], [0, 0], [1, 0]])
    upper = tf.pad(dual_y[..., :-1, :], [[0, 0], [0, 0], [1, 0], [0, 0]])
    return dual_x - left + dual_y - upper


def _median(flow):
    """The median of the square around each pixel; the border repeats the last one."""
    reach, size = MEDIAN_SIDE_PX // 2, tf.shape(flow)
    columns = tf.clip_by_value(tf.range(-reach, size[3] + reach), 0, size[3] - 1)
    rows = tf.clip_by_value(tf.range(-reach, size[2] + reach), 0, size[2] - 1)
    padded = tf.gather(tf.gather(flow, rows, axis=2), columns, axis=3)
    shifted = [
        padded[:, :, row : row + size[2], column : column + size[3]]
        for row in range(MEDIAN_SIDE_PX)
        for column in range(MEDIAN_SIDE_PX)
    ]
    for low, high in _sorting_network(len(shifted)):
        pair = shifted[low], shifted[high]
        shifted[low], shifted[high] = tf.minimum(*pair), tf.maximum(*pair)
    return shifted[len(shifted) // 2]


def _sorting_network(count):
    """Batcher's odd-even merge sort: which two places are put in order, one by one."""
    merged = 1
    while merged < count:
        gap = merged
        while gap >= 1:
            for start in range(gap % merged, count - gap, 2 * gap):
                for low in range(start, min(start + gap, count - gap)):
                    if low // (2 * merged) == (low + gap) // (2 * merged):
                        yield low, low + gap
            gap //= 2
        merged *= 2
