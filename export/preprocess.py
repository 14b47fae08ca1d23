"""Frames of any size and number to the student's clip, in the exported graph.

The rule is that of evaluation: num_frames frames spread over the time, the short side
(or both) scaled to the format's `resized_side`, the central square, [-1, 1]. Frames
that a client decoded at `ClipFormat.resized` give exactly the clips of evaluation.
Full-size frames differ from them by a level or two of 255 on average: both ways average
areas, but evaluation scales what the video stores before it makes RGB of it.

Frames that already have the clip's height and width are taken as they are, so that a
client may send just the square that it wants looked at. Of frames that are more than
eight times as long as they are wide, or the other way round, the middle is taken.

Of a student of optical flow the frames are the 8-bit levels of u and v, 2 channels, in
the student's `flow_encoding`: I3D's uint8((v + 20) / 40 * 255), or EPIC-KITCHENS'
released images as they are. They mean in the graph what they meant in training.
"""

import tensorflow as tf

from export import limits
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.views import normalize

# Scaled whole, a picture of one row of pixels would take gigabytes.
_MAX_ASPECT = 8


def prepare_frames(
    frames: tf.Tensor, clip_format: ClipFormat, channels: int | None = None
) -> tf.Tensor:
    """Returns the float32 clips in [-1, 1] for uint8 frames, RGB or levels of flow.

    Shapes:
        frames: (batch, time, height, width, channels), each 1 or more and within
            `limits`. Any others, of any rank, fail with a sentence when the graph runs.
        result: (batch, num_frames, image_size, image_size, channels).
    Args:
        channels: Of the frames; None takes what their static shape says.
    """
    frames = checked(frames, frames.shape[-1] if channels is None else channels)
    kept, places = choose_frames(tf.shape(frames)[1], clip_format)
    return clips_of(tf.gather(frames, kept, axis=1), places, clip_format)


def choose_frames(
    given: tf.Tensor,
    clip_format: ClipFormat | FeatureFormat,
    before: int = 0,
    name: str = "frames",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses which frames a clip shows, as `frame_indices` does.

    Args:
        before: Frames of a request that are not counted as given; an error tells of
            them.
        name: Of the input that an error tells of.
    Returns:
        The numbers of the frames that are needed, each once, int32; and for each frame
        of the clip its position among these, int32 (num_frames,).
    """
    wanted = clip_format.num_frames
    count = tf.minimum(given, wanted)
    places = _spread(count, wanted)
    if clip_format.short_clip == "loop":
        places = tf.range(wanted) % count
    elif clip_format.short_clip == "pad_last":
        places = tf.minimum(tf.range(wanted), count - 1)
    elif clip_format.short_clip == "error":
        enough = tf.debugging.assert_greater_equal(
            given,
            wanted,
            message=f"{name} must have time of {wanted + before} or more",
        )
        with tf.control_dependencies([enough]):
            places = tf.identity(places)
    return _spread(given, count), places


def clips_of(
    frames: tf.Tensor, places: tf.Tensor, clip_format: ClipFormat
) -> tf.Tensor:
    """The clips of frames that `choose_frames` chose, of any size."""
    shape = tf.shape(frames)
    # A batch of clips is a longer batch of images.
    images = tf.reshape(frames, tf.concat([[-1], shape[2:]], axis=0))
    squares = to_squares(images, clip_format)
    batches = tf.concat([shape[:2], tf.shape(squares)[1:]], axis=0)
    squares = tf.reshape(squares, batches)
    squares = tf.ensure_shape(squares, (None, None, *squares.shape[2:]))
    return to_clips(squares, places, clip_format)


def to_squares(images: tf.Tensor, clip_format: ClipFormat) -> tf.Tensor:
    """Scales and crops uint8 images (batch, height, width, channels) to the clip's."""
    squares = central_square(scale(images, clip_format), clip_format)
    side = clip_format.image_size
    return tf.ensure_shape(squares, (None, side, side, images.shape[-1]))


def scale(images: tf.Tensor, clip_format: ClipFormat) -> tf.Tensor:
    """Scales uint8 images as `ClipFormat.resized` says, unless they are the square."""
    is_square = tf.reduce_all(tf.shape(images)[1:3] == clip_format.image_size)
    return tf.cond(is_square, lambda: images, lambda: _scale_whole(images, clip_format))


def central_square(images: tf.Tensor, clip_format: ClipFormat) -> tf.Tensor:
    """Cuts the clip's square out of scaled images (batch, height, width, channels)."""
    side = clip_format.image_size
    top, left = tf.unstack((tf.shape(images)[1:3] - side) // 2)
    return images[:, top : top + side, left : left + side]


def to_clips(
    squares: tf.Tensor, places: tf.Tensor, clip_format: ClipFormat
) -> tf.Tensor:
    """Puts squares (batch, time, side, side, channels) in their places of a clip."""
    clips = normalize(tf.gather(squares, places, axis=1), clip_format.flow_scale)
    return tf.ensure_shape(clips, (None, clip_format.num_frames, *clips.shape[2:]))


def checked(frames: tf.Tensor, channels: int, name: str = "frames") -> tf.Tensor:
    """The frames, of which rank and channels are known from here on."""
    shape = tf.shape(frames)
    # A slice fails for no rank.
    fits = (
        tf.equal(tf.rank(frames), 5)
        & tf.reduce_all(shape >= 1)
        & tf.reduce_all(shape[4:] == channels)
    )
    sentence = (
        f"{name} must have the shape (batch, time, height, width, {channels}), each "
        "of it 1 or more. Got the shape"
    )
    with tf.control_dependencies([tf.debugging.Assert(fits, [sentence, shape], 9)]):
        within = limits.few_enough(shape[:2]) & limits.small_enough(shape[2:4])
    sentence = f"{limits.SENTENCE} Got {name} of the shape"
    with tf.control_dependencies([tf.debugging.Assert(within, [sentence, shape], 9)]):
        # Not ensure_shape, from which TensorFlow concludes that any frames fit.
        return tf.reshape(frames, (*(shape[i] for i in range(4)), channels))


def _spread(given, wanted):
    """Index floor((k + 1/2) * given / wanted) for every k < wanted, in integers."""
    return (2 * tf.range(wanted) + 1) * given // (2 * wanted)


def _scale_whole(images, clip_format):
    scaled_side = clip_format.resized_side
    if clip_format.fit == "stretch":
        return _resize(images, tf.constant((scaled_side, scaled_side)))
    images = _middle(images)
    given = tf.shape(images)[1:3]
    # The integer arithmetic of `ClipFormat.resized`, which rounds halves up.
    short = tf.reduce_min(given)
    return _resize(images, (2 * given * scaled_side + short) // (2 * short))


def _middle(images):
    given = tf.shape(images)[1:3]
    size = tf.minimum(given, _MAX_ASPECT * tf.reduce_min(given))
    top, left = tf.unstack((given - size) // 2)
    return images[:, top : top + size[0], left : left + size[1]]


def _resize(images, size):
    shrinks = tf.reduce_all(size <= tf.shape(images)[1:3])
    scaled = tf.cond(
        shrinks,
        lambda: tf.image.resize(images, size, method="area"),
        lambda: tf.image.resize(images, size, method="bilinear"),
    )
    # Whole levels, as in the clips that were trained on.
    return tf.cast(tf.round(scaled), tf.uint8)
