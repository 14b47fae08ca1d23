"""The most that one request may hold, and the sentence that says so.

What is more is refused before anything is decoded, resized or given to the network.
"""

import tensorflow as tf

MAX_CLIPS = 64
# Of each clip: 17 seconds at 60 frames a second.
MAX_FRAMES = 1024
# Of each frame: 8K.
MAX_PIXELS = 8192 * 4096
# Of all cameras of a request; asking for a state takes a few bytes.
MAX_STATE_BYTES = 256_000_000

SENTENCE = (
    f"A request may hold at most {MAX_CLIPS} clips of {MAX_FRAMES} frames of "
    f"{MAX_PIXELS} pixels (8192 x 4096)."
)


def few_enough(clips_and_frames: tf.Tensor) -> tf.Tensor:
    """Whether a request is small enough, by its int32 (number of clips, of frames)."""
    return tf.reduce_all(clips_and_frames <= (MAX_CLIPS, MAX_FRAMES))


def small_enough(sizes: tf.Tensor) -> tf.Tensor:
    """Whether pictures are small enough, by their int32 (..., height and width)."""
    # Of two sides as a picture file may state them, 32 bits do not hold the product.
    return tf.reduce_prod(tf.cast(sizes, tf.int64), axis=-1) <= MAX_PIXELS
