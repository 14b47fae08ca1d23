"""Frames of any size and number to the student's clip, in the exported graph.

The rule is that of evaluation, with two liberties. Frames are scaled by TensorFlow
and not by the resizer of the training data: both average areas when they shrink, so
that values differ by rounding, at most one level of 255. And frames that already have
the clip's height and width are taken as they are, so that a client may send exactly
the square that it wants looked at, or small messages.
"""

import tensorflow as tf

from export.student_file import ExportSpec


def prepare_frames(frames: tf.Tensor, spec: ExportSpec) -> tf.Tensor:
    """Returns the float32 clips in [-1, 1] for uint8 frames.

    Shapes:
        frames: (batch, time, height, width, channels), none of them zero but batch.
        result: (batch, num_frames, image_size, image_size, channels).
    """
    shape = tf.shape(frames)
    some = tf.debugging.assert_greater_equal(
        shape[1:4], 1, message="frames must have time, height and width of 1 or more"
    )
    with tf.control_dependencies([some] if some is not None else []):
        frames = _sample_in_time(frames, spec)
    square = tf.reduce_all(shape[2:4] == spec.image_size)
    # A batch of clips is a longer batch of images.
    images = tf.reshape(frames, tf.concat([[-1], shape[2:]], axis=0))
    images = tf.cond(
        square,
        lambda: tf.cast(images, tf.float32),
        lambda: _scale_and_crop(images, spec),
    )
    side, channels = spec.image_size, frames.shape[-1]
    clips = tf.reshape(images, (shape[0], spec.num_frames, side, side, channels))
    return clips / 127.5 - 1.0


def _sample_in_time(frames, spec):
    given, wanted = tf.shape(frames)[1], spec.num_frames
    if spec.short_clip == "loop":
        short = tf.range(wanted) % given
    elif spec.short_clip == "pad_last":
        short = tf.minimum(tf.range(wanted), given - 1)
    else:
        short = _spread(given, wanted)
    checks = []
    if spec.short_clip == "error":
        enough = tf.debugging.assert_greater_equal(
            given, wanted, message=f"frames must be {wanted} or more in time"
        )
        checks = [enough] if enough is not None else []
    with tf.control_dependencies(checks):
        index = tf.where(given < wanted, short, _spread(given, wanted))
    return tf.gather(frames, index, axis=1)


def _spread(given, wanted):
    """Index floor((k + 1/2) * given / wanted) for every k < wanted, in integers."""
    return (2 * tf.range(wanted) + 1) * given // (2 * wanted)


def _scale_and_crop(images, spec):
    side = spec.image_size
    scaled_side = round(side * spec.margin)
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    if spec.fit == "stretch":
        size = tf.constant((scaled_side, scaled_side))
    else:
        short = tf.minimum(height, width)
        size = tf.stack([_rounded(s * scaled_side, short) for s in (height, width)])
    scaled = _resize(images, size)
    top, left = tf.unstack((size - side) // 2)
    return scaled[:, top : top + side, left : left + side]


def _rounded(numerator, denominator):
    """The fraction rounded half up, in integers."""
    return (2 * numerator + denominator) // (2 * denominator)


def _resize(images, size):
    shrinks = tf.reduce_all(size <= tf.shape(images)[1:3])
    scaled = tf.cond(
        shrinks,
        lambda: tf.image.resize(images, size, method="area"),
        lambda: tf.image.resize(images, size, method="bilinear"),
    )
    # Whole levels, as in the clips that were trained on.
    return tf.round(scaled)
