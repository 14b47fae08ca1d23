"""The signature `encoded_frames`: clips as JPEG or PNG files.

These take a tenth of the bytes of frames, and are what REST's `{"b64": ...}` becomes.
Only the frames that the clip shows are decoded, each by itself: several at a time, each
brought to the clip's size before the next. Gray and transparent pictures become what
the network takes; what is transparent has the color that the file gives it. The
orientation that a camera may note in a JPEG is not applied.

For a student of optical flow, red is the level of u and green the level of v, as in the
PNG files of `train.prepare`.
"""

import numpy as np
import tensorflow as tf

from export import limits, preprocess
from export.signatures.picture_files import checked_files
from export.signatures.served_student import ServedStudent

# Frames that are decoded at a time. Each takes 100 MB at most.
PARALLEL = 16


def inputs(student: ServedStudent) -> dict[str, tf.TensorSpec]:
    return {"encoded_frames": tf.TensorSpec((None, None), tf.string)}


def serve(student: ServedStudent, encoded_frames: tf.Tensor) -> dict[str, tf.Tensor]:
    """Anticipates from files (batch, time) of pictures of any size."""
    return student.anticipate(clips_of(student, encoded_frames))


def example(student: ServedStudent, frames: np.ndarray) -> dict[str, np.ndarray]:
    files = [[_encode(frame) for frame in clip] for clip in frames]
    return {"encoded_frames": np.array(files)}


def clips_of(student: ServedStudent, encoded_frames: tf.Tensor) -> tf.Tensor:
    """The float32 clips of the pictures in files."""
    clip_format = student.spec.clip_format
    files = checked(encoded_frames)
    batch, given = tf.unstack(tf.shape(files))
    kept, places = preprocess.choose_frames(given, clip_format)
    files, are_png = checked_files(tf.gather(files, kept, axis=1), kept)
    *_, side, _ = student.clip_shape

    def square(file_and_kind):
        picture = decode(*file_and_kind, student.channels)
        return preprocess.to_squares(picture[None], clip_format)[0]

    squares = tf.map_fn(
        square,
        (tf.reshape(files, [-1]), tf.reshape(are_png, [-1])),
        fn_output_signature=tf.TensorSpec((side, side, student.channels), tf.uint8),
        parallel_iterations=PARALLEL,
    )
    squares = tf.reshape(squares, (batch, -1, side, side, student.channels))
    return preprocess.to_clips(squares, places, clip_format)


def checked(files: tf.Tensor) -> tf.Tensor:
    """The files, (batch, time) from here on, none of them empty."""
    shape = tf.shape(files)
    fits = tf.equal(tf.rank(files), 2) & tf.reduce_all(shape >= 1)
    sentence = (
        "encoded_frames must have the shape (batch, time), each of it 1 or more. Got "
        "the shape"
    )
    with tf.control_dependencies([tf.debugging.Assert(fits, [sentence, shape], 9)]):
        files = tf.reshape(files, (shape[0], shape[1]))
    # Of two numbers from here on.
    shape = tf.shape(files)
    few = tf.debugging.Assert(
        limits.few_enough(shape), [limits.SENTENCE, "Got the shape", shape], 9
    )
    with tf.control_dependencies([few]):
        missing = tf.where(tf.strings.length(files) == 0)
    sentence = (
        "Every clip of a batch must have the same number of frames, each a JPEG or PNG "
        "file. Empty are the (clip, frame)"
    )
    complete = tf.debugging.Assert(tf.size(missing) == 0, [sentence, missing[:3]], 9)
    with tf.control_dependencies([complete]):
        return tf.identity(files)


def decode(file: tf.Tensor, is_png: tf.Tensor, channels: int) -> tf.Tensor:
    """uint8 (height, width, channels), of a file that `checked_files` let pass."""
    # libjpeg and libpng know no pictures of two channels.
    decoded_channels = 3 if channels == 2 else channels
    picture = tf.cond(
        is_png,
        lambda: tf.io.decode_png(file, decoded_channels),
        # The decoding of other libraries, not a faster one that differs by some levels.
        lambda: tf.io.decode_jpeg(
            file, decoded_channels, dct_method="INTEGER_ACCURATE"
        ),
    )
    return picture[..., :channels]


def _encode(frame):
    height, width, channels = frame.shape
    if channels == 2:
        frame = np.concatenate([frame, np.zeros((height, width, 1), np.uint8)], axis=2)
    return tf.io.encode_png(frame).numpy()
