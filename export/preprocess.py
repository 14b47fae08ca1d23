"""Frames of any size and number to the student's clip, in the exported graph.

The rule is that of evaluation: num_frames frames spread over the time, the short side
(or both) scaled to the format's `resized_side`, the central square, [-1, 1]. Frames
that a client decoded at `ClipFormat.resized` give exactly the clips of evaluation.
Full-size frames differ from them by a level or two of 255 on average: both ways average
areas, but evaluation scales what the video stores before it makes RGB of it.

Frames that already have the clip's height and width are taken as they are, so that a
client may send just the square that it wants looked at.

Of a student of optical flow the frames are the 8-bit levels of u and v, 2 channels, in
the student's `flow_encoding`: I3D's uint8((v + 20) / 40 * 255), or EPIC-KITCHENS'
released images as they are. They mean in the graph what they meant in training.
"""

import tensorflow as tf

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.views import normalize


def prepare_frames(
    frames: tf.Tensor, clip_format: ClipFormat, channels: int | None = None
) -> tf.Tensor:
    """Returns the float32 clips in [-1, 1] for uint8 frames, RGB or levels of flow.

    Shapes:
        frames: (batch, time, height, width, channels), each 1 or more. Any others,
            of any rank, fail with a sentence when the graph runs.
        result: (batch, num_frames, image_size, image_size, channels).
    Args:
        channels: Of the frames; None takes what their static shape says.
    """
    frames = _checked(frames, frames.shape[-1] if channels is None else channels)
    shape = tf.shape(frames)
    frames = _sample_in_time(frames, clip_format)
    square = tf.reduce_all(shape[2:4] == clip_format.image_size)
    # A batch of clips is a longer batch of images.
    images = tf.reshape(frames, tf.concat([[-1], shape[2:]], axis=0))
    images = tf.cond(
        square,
        lambda: tf.cast(images, tf.float32),
        lambda: _scale_and_crop(images, clip_format),
    )
    side, channels = clip_format.image_size, frames.shape[-1]
    clips = tf.reshape(images, (shape[0], clip_format.num_frames, side, side, channels))
    return normalize(clips, clip_format.flow_scale)


def _checked(frames, channels):
    """The frames, of which rank and channels are known from here on."""
    shape = tf.shape(frames)
    # A slice fails for no rank.
    fits = (
        tf.equal(tf.rank(frames), 5)
        & tf.reduce_all(shape >= 1)
        & tf.reduce_all(shape[4:] == channels)
    )
    sentence = (
        f"frames must have the shape (batch, time, height, width, {channels}), each "
        "of it 1 or more. Got the shape"
    )
    with tf.control_dependencies([tf.debugging.Assert(fits, [sentence, shape], 9)]):
        # Not ensure_shape, from which TensorFlow concludes that any frames fit.
        return tf.reshape(frames, (*(shape[i] for i in range(4)), channels))


def _sample_in_time(frames, clip_format):
    given, wanted = tf.shape(frames)[1], clip_format.num_frames
    index = spread = _spread(given, wanted)
    if clip_format.short_clip == "loop":
        index = tf.where(given < wanted, tf.range(wanted) % given, spread)
    elif clip_format.short_clip == "pad_last":
        padded = tf.minimum(tf.range(wanted), given - 1)
        index = tf.where(given < wanted, padded, spread)
    elif clip_format.short_clip == "error":
        enough = tf.debugging.assert_greater_equal(
            given, wanted, message=f"frames must have time of {wanted} or more"
        )
        with tf.control_dependencies([enough]):
            index = tf.identity(spread)
    return tf.gather(frames, index, axis=1)


def _spread(given, wanted):
    """Index floor((k + 1/2) * given / wanted) for every k < wanted, in integers."""
    return (2 * tf.range(wanted) + 1) * given // (2 * wanted)


def _scale_and_crop(images, clip_format):
    given = tf.shape(images)[1:3]
    side, scaled_side = clip_format.image_size, clip_format.resized_side
    if clip_format.fit == "stretch":
        size = tf.constant((scaled_side, scaled_side))
    else:
        # The integer arithmetic of `ClipFormat.resized`, which rounds halves up.
        short = tf.reduce_min(given)
        size = (2 * given * scaled_side + short) // (2 * short)
    scaled = _resize(images, given, size)
    top, left = tf.unstack((size - side) // 2)
    return scaled[:, top : top + side, left : left + side]


def _resize(images, given, size):
    shrinks = tf.reduce_all(size <= given)
    scaled = tf.cond(
        shrinks,
        lambda: tf.image.resize(images, size, method="area"),
        lambda: tf.image.resize(images, size, method="bilinear"),
    )
    # Whole levels, as in the clips that were trained on.
    return tf.round(scaled)
