"""Frames to the clip of a flow student, in the exported graph.

This follows `kd_keras.data.clips.frames.read_clip`: each picture of the clip is
the TV-L1 flow to a frame from the one nearest to 1/25 s before it, computed at the
clip's size and scaled to pixels per 1/25 s of a picture 256 pixels high. Frames that a
request holds carry no times. They are taken to be spread evenly over the seconds that
the student observes, or to come at 25 per second if it observes no fixed time.
"""

import dataclasses

import tensorflow as tf

from export import preprocess
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.video import tvl1_graph
from kd_keras.data.video.flow import FRAME_RATE, HEIGHT_PX, FlowEncoding


@dataclasses.dataclass(frozen=True)
class FlowPairs:
    """The pairs of frames that the flow of a clip is computed of.

    Attributes:
        befores, afters: int32 (pairs,), numbers of frames. They are the same frame if
            there is only one: it stands still.
        scales: float32 (pairs,), factors from the pixels of a pair to the pixels that a
            clip of flow counts in.
        places: int32 (num_frames,), the pair that each picture of the clip shows.
    """

    befores: tf.Tensor
    afters: tf.Tensor
    scales: tf.Tensor
    places: tf.Tensor


def choose_pairs(
    time: tf.Tensor, clip_format: ClipFormat, observed_s: float | None
) -> FlowPairs:
    """The pairs for clips of so many frames."""
    rate = tf.cast(FRAME_RATE, tf.float32)
    if observed_s is not None:
        rate = tf.cast(time, tf.float32) / observed_s
    # Each frame but the first has a flow that leads to it.
    kept, places = preprocess.choose_frames(tf.maximum(time - 1, 1), clip_format, 1)
    afters = tf.minimum(kept + 1, time - 1)
    # As the nearest frame in training; of two that are as near, the earlier one.
    apart = tf.maximum(tf.cast(tf.floor(rate / FRAME_RATE + 0.5), tf.int32), 1)
    befores = tf.maximum(afters - apart, 0)
    apart_s = tf.cast(tf.maximum(afters - befores, 1), tf.float32) / rate
    scales = HEIGHT_PX / clip_format.resized_side / (FRAME_RATE * apart_s)
    return FlowPairs(befores, afters, scales, places)


def flow_clips(
    frames: tf.Tensor, pairs: FlowPairs, clip_format: ClipFormat
) -> tf.Tensor:
    """Returns the float32 clips of flow in [-1, 1].

    Shapes:
        frames: uint8 (batch, frames, height, width, 3), or 1 if gray; the numbers of
            `pairs` are positions among them.
        result: (batch, num_frames, image_size, image_size, 2).
    """
    side = clip_format.image_size

    def squares_of(clip):
        gray = _gray(preprocess.scale(clip, clip_format))
        flow = tvl1_graph.tvl1_flow(
            tf.gather(gray, pairs.befores), tf.gather(gray, pairs.afters)
        )
        flow *= pairs.scales[:, None, None, None]
        levels = _quantized(flow, clip_format.flow_encoding)
        squares = preprocess.central_square(levels, clip_format)
        return tf.ensure_shape(squares, (None, side, side, 2))

    # One clip at a time: flow takes some 20 arrays of its size.
    squares = tf.map_fn(
        squares_of,
        frames,
        fn_output_signature=tf.TensorSpec((None, side, side, 2), tf.uint8),
        parallel_iterations=1,
    )
    return preprocess.to_clips(squares, pairs.places, clip_format)


def _gray(frames):
    return frames[..., 0] if frames.shape[-1] == 1 else tvl1_graph.as_gray(frames)


def _quantized(flow: tf.Tensor, encoding: FlowEncoding) -> tf.Tensor:
    """`FlowEncoding.quantize` in the graph."""
    bound = encoding.bound_px
    levels = (tf.clip_by_value(flow, -bound, bound) + bound) / (2 * bound) * 255.0
    return tf.cast(levels if encoding.rounds_down else levels + 0.5, tf.uint8)
