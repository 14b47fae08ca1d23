"""Looks over picture files in the graph before they are decoded.

A file of a few hundred bytes can state a size of gigabytes, and libjpeg sets memory
aside for some of them when it reads the header. So the size is read here, by TensorFlow
operations on the bytes, for all files at once.

JPEG: ITU-T T.81, annex B: markers of FF and a byte, most with a length; SOF0 to SOF15
state the size. PNG: the size is in its first chunk, IHDR.
"""

import tensorflow as tf

from export import limits

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_JPEG_START = b"\xff\xd8"
# Markers that begin with FF C but state no size: Huffman tables, an extension,
# conditioning of arithmetic coding.
_NO_SIZE = (0xC4, 0xC8, 0xCC)
# A marker with the size: FF Cn, length (2 bytes), precision, height (2), width (2).
_MARKER_BYTES = 9
# Segments before the size; cameras write a dozen.
_MAX_SEGMENTS = 1000


def checked_files(
    files: tf.Tensor, frame_numbers: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the files, and which of them are PNG, once all can be decoded.

    Any that is neither JPEG nor PNG, larger than `limits.MAX_PIXELS`, or has no end,
    fails with a sentence that names its clip and frame.

    Shapes:
        files: string (batch, time).
        frame_numbers: int32 (time,), what messages call the frames.
        result: string and bool (batch, time).
    """
    flat = tf.reshape(files, [-1])
    numbers = _clip_and_frame(tf.shape(files)[0], frame_numbers)
    are_png = _starts_with(flat, _PNG_START)
    are_jpeg = _starts_with(flat, _JPEG_START)
    jpeg_sizes, behind_size = _jpeg_sizes(flat, are_jpeg)
    sizes = tf.where(are_png[:, None], _png_sizes(flat), jpeg_sizes)
    known = (are_png | are_jpeg) & tf.reduce_all(sizes >= 1, axis=1)
    checks = [
        _require(
            known,
            "Every frame must be a JPEG or PNG file with an intact header. This is no "
            "such file, (clip, frame)",
            numbers,
        )
    ]
    with tf.control_dependencies(checks):
        small = limits.small_enough(sizes)
    checks.append(
        _require(small, f"{limits.SENTENCE} Larger is (clip, frame)", numbers)
    )
    with tf.control_dependencies(checks):
        ends = tf.where(are_png, _holds(flat, _PNG_END), _holds(behind_size, _JPEG_END))
    checks.append(
        _require(
            ends,
            "A JPEG or PNG file is cut short: its end is missing. It is (clip, frame)",
            numbers,
        )
    )
    with tf.control_dependencies(checks):
        return tf.identity(files), tf.reshape(are_png, tf.shape(files))


def _clip_and_frame(batch, frame_numbers):
    """int32 (batch * time, 2)."""
    clips, frames = tf.meshgrid(tf.range(batch), frame_numbers, indexing="ij")
    return tf.reshape(tf.stack([clips, frames], axis=-1), (-1, 2))


def _require(fine, sentence, numbers):
    """An assertion that all is fine; it names the first that is not."""
    first = tf.boolean_mask(numbers, ~fine)[:1]
    return tf.debugging.Assert(tf.reduce_all(fine), [sentence, first])


def _starts_with(files, start):
    return tf.reduce_all(
        _first_bytes(files, len(start)) == tf.constant(list(start)), axis=1
    )


def _holds(files, part):
    return tf.strings.split(files, part).row_lengths() > 1


def _first_bytes(files, count):
    """int32 (files, count); a shorter file is followed by zeros."""
    return tf.cast(tf.io.decode_raw(files, tf.uint8, fixed_length=count), tf.int32)


def _png_sizes(files):
    """int32 (files, 2): height and width; sizes beyond 31 bits become negative."""
    start = len(_PNG_START)
    bytes_ = _first_bytes(files, start + 8)[:, start:]
    width, height = (
        tf.reduce_sum(bytes_[:, i : i + 4] * [1 << 24, 1 << 16, 1 << 8, 1], axis=1)
        for i in (0, 4)
    )
    return tf.stack([height, width], axis=1)


def _jpeg_sizes(files, are_jpeg):
    """Height and width, int32 (files, 2), and what each file holds behind them.

    They are 0 for a file whose markers do not lead to them.
    """

    def step(positions, sizes, searching):
        marker = _bytes_at(files, positions)
        code = marker[:, 1]
        states_size = (code >= 0xC0) & (code <= 0xCF)
        for other in _NO_SIZE:
            states_size &= code != other
        length = marker[:, 2] * 256 + marker[:, 3]
        # Start, end and restart, which have no length, do not stand here.
        usable = (marker[:, 0] == 0xFF) & (
            (code == 0xFF)
            | (code >= 0xC0) & ~((code >= 0xD0) & (code <= 0xDA)) & (length >= 2)
        )
        found = searching & usable & states_size
        there = tf.stack(
            [marker[:, 5] * 256 + marker[:, 6], marker[:, 7] * 256 + marker[:, 8]],
            axis=1,
        )
        searching &= usable & ~states_size
        # FF may be repeated before the code of a marker.
        ahead = tf.where(code == 0xFF, 1, 2 + length)
        return (
            positions + tf.where(searching, ahead, 0),
            tf.where(found[:, None], there, sizes),
            searching,
        )

    count = tf.size(files)
    start = (
        tf.fill([count], len(_JPEG_START)),
        tf.zeros((count, 2), tf.int32),
        are_jpeg,
    )
    positions, sizes, _ = tf.while_loop(
        lambda positions, sizes, searching: tf.reduce_any(searching),
        step,
        start,
        maximum_iterations=_MAX_SEGMENTS,
    )
    return sizes, _from(files, positions)


def _bytes_at(files, positions):
    """int32 (files, bytes of a marker); zeros where a file ends before."""
    return _first_bytes(_from(files, positions, _MARKER_BYTES), _MARKER_BYTES)


def _from(files, positions, count=None):
    lengths = tf.strings.length(files)
    positions = tf.minimum(positions, lengths)
    counts = lengths if count is None else tf.fill(tf.shape(files), count)
    return tf.strings.substr(files, positions, counts)
