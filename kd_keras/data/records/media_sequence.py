"""Clips and feature maps as SequenceExamples with the key names of MediaSequence.

The names are those of MediaPipe's `media_sequence.h`, which the video readers of
TensorFlow and DeepMind also use. A prefix (`FORWARD_FLOW/image/encoded`) tells several
streams of one example apart. Names of our own begin with `kd_keras/`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Context.
EXAMPLE_ID = "example/id"
CLIP_DATA_PATH = "clip/data_path"
CLIP_START = "clip/start/timestamp"
CLIP_END = "clip/end/timestamp"
CLIP_LABEL_INDEX = "clip/label/index"
CLIP_LABEL_STRING = "clip/label/string"
IMAGE_FORMAT = "image/format"
IMAGE_CHANNELS = "image/channels"
IMAGE_HEIGHT = "image/height"
IMAGE_WIDTH = "image/width"
FEATURE_DIMENSIONS = "feature/dimensions"
# Feature lists.
IMAGE_ENCODED = "image/encoded"
IMAGE_TIMESTAMP = "image/timestamp"
FEATURE_BYTES = "feature/bytes"
# Prefix of the optical flow that belongs to the images.
FORWARD_FLOW = "FORWARD_FLOW"

# For each frame of the clip, the position of the stored image that shows it: short
# clips repeat images, which are stored once.
FRAME_INDEX = "kd_keras/frame_index"
FEATURE_TYPE = "kd_keras/feature_type"

# Times are microseconds.
_MICRO = 1_000_000


@dataclasses.dataclass(frozen=True)
class Images:
    """A stream of encoded images.

    Attributes:
        encoded: One per stored image.
        times_s: Presentation times in the video, in seconds, ascending.
        frame_index: Which of them each frame of the clip shows; None for each once.
        height: In pixels, of every image.
        width: In pixels, of every image.
        format: "JPEG" or "PNG".
        channels: Of the images.
    """

    encoded: Sequence[bytes]
    times_s: Sequence[float]
    height: int
    width: int
    frame_index: Sequence[int] | None = None
    format: str = "JPEG"
    channels: int = 3


def encode_clip(
    example_id: str,
    data_path: str,
    start_s: float,
    end_s: float,
    images: Images | None = None,
    label_index: int | None = None,
    label_string: str | None = None,
    flow: Images | None = None,
) -> bytes:
    """Serializes a clip; equal arguments give equal bytes.

    Args:
        example_id: Identifies the example.
        data_path: Of the video, as its annotations name it.
        start_s: Start of the clip in the video, in seconds; may be negative.
        end_s: Its end.
        images: The frames; None if there is only flow.
        label_index: Class index, if there is a label.
        label_string: Class name.
        flow: Optical flow from each frame to the next, as images: u is their red
            channel, v the green one.
    Examples:
        >>> from kd_keras.data.records import media_sequence
        >>> frames = [b"first JPEG", b"second JPEG"]
        >>> images = media_sequence.Images(frames, [2.0, 2.5], height=32, width=32)
        >>> record = media_sequence.encode_clip("door", "kitchen.mp4", 2.0, 3.0, images)
        >>> media_sequence.parse_images(record).times_s
        [2.0, 2.5]
    """
    context = {
        EXAMPLE_ID: _bytes(example_id.encode()),
        CLIP_DATA_PATH: _bytes(data_path.encode()),
        CLIP_START: _ints(round(start_s * _MICRO)),
        CLIP_END: _ints(round(end_s * _MICRO)),
    }
    if label_index is not None:
        context[CLIP_LABEL_INDEX] = _ints(label_index)
    if label_string is not None:
        context[CLIP_LABEL_STRING] = _bytes(label_string.encode())
    lists = {}
    for prefix, stream in (("", images), (f"{FORWARD_FLOW}/", flow)):
        if stream is None:
            continue
        context[prefix + IMAGE_FORMAT] = _bytes(stream.format.encode())
        context[prefix + IMAGE_CHANNELS] = _ints(stream.channels)
        context[prefix + IMAGE_HEIGHT] = _ints(stream.height)
        context[prefix + IMAGE_WIDTH] = _ints(stream.width)
        if stream.frame_index is not None:
            context[prefix + FRAME_INDEX] = _ints(*map(int, stream.frame_index))
        lists[prefix + IMAGE_ENCODED] = [_bytes(image) for image in stream.encoded]
        lists[prefix + IMAGE_TIMESTAMP] = [
            _ints(round(float(time_s) * _MICRO)) for time_s in stream.times_s
        ]
    return _serialize(context, lists)


def parse_images(record: bytes, prefix: str = "") -> Images:
    """Reads a stream of images back from a serialized clip.

    Examples:
        >>> from kd_keras.data.records import media_sequence
        >>> frames = [b"first JPEG", b"second JPEG"]
        >>> images = media_sequence.Images(frames, [2.0, 2.5], height=32, width=32)
        >>> record = media_sequence.encode_clip("door", "kitchen.mp4", 2.0, 3.0, images)
        >>> media_sequence.parse_images(record).times_s
        [2.0, 2.5]
    """
    example = tf.train.SequenceExample.FromString(record)
    context, lists = example.context.feature, example.feature_lists.feature_list
    if prefix:
        prefix += "/"
    if prefix + IMAGE_ENCODED not in lists:
        raise ValueError(
            f"The example has no {prefix + IMAGE_ENCODED}; it has {sorted(lists)}."
        )
    encoded = [f.bytes_list.value[0] for f in lists[prefix + IMAGE_ENCODED].feature]
    micros = [f.int64_list.value[0] for f in lists[prefix + IMAGE_TIMESTAMP].feature]
    index = context[prefix + FRAME_INDEX].int64_list.value
    return Images(
        encoded=encoded,
        times_s=[time / _MICRO for time in micros],
        height=context[prefix + IMAGE_HEIGHT].int64_list.value[0],
        width=context[prefix + IMAGE_WIDTH].int64_list.value[0],
        frame_index=list(index) if index else None,
        format=context[prefix + IMAGE_FORMAT].bytes_list.value[0].decode(),
        channels=context[prefix + IMAGE_CHANNELS].int64_list.value[0],
    )


def encode_features(example_id: str, features: dict[str, np.ndarray]) -> bytes:
    """Serializes arrays by prefix, each as a list of one entry per first index.

    Examples:
        >>> import numpy as np
        >>> from kd_keras.data.records import media_sequence
        >>> maps = {"Mixed_5c": np.zeros((2, 1, 1, 8), "float16")}
        >>> record = media_sequence.encode_features("door", maps)
        >>> [features] = media_sequence.parse_features(record, ["Mixed_5c"])
        >>> features.shape, features.dtype.name
        ((2, 1, 1, 8), 'float16')
    """
    context, lists = {EXAMPLE_ID: _bytes(example_id.encode())}, {}
    for prefix, array in features.items():
        array = np.ascontiguousarray(array)
        context[f"{prefix}/{FEATURE_DIMENSIONS}"] = _ints(*array.shape)
        context[f"{prefix}/{FEATURE_TYPE}"] = _bytes(array.dtype.name.encode())
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        lists[f"{prefix}/{FEATURE_BYTES}"] = [
            _bytes(step.tobytes()) for step in little_endian
        ]
    return _serialize(context, lists)


def parse_features(record: bytes, prefixes: Sequence[str]) -> list[np.ndarray]:
    """Reads arrays back from what `encode_features` made.

    Examples:
        >>> import numpy as np
        >>> from kd_keras.data.records import media_sequence
        >>> maps = {"Mixed_5c": np.zeros((2, 1, 1, 8), "float16")}
        >>> record = media_sequence.encode_features("door", maps)
        >>> [features] = media_sequence.parse_features(record, ["Mixed_5c"])
        >>> features.shape, features.dtype.name
        ((2, 1, 1, 8), 'float16')
    """
    example = tf.train.SequenceExample.FromString(record)
    context, lists = example.context.feature, example.feature_lists.feature_list
    arrays = []
    for prefix in prefixes:
        key = f"{prefix}/{FEATURE_BYTES}"
        if key not in lists:
            raise ValueError(f"The example has no {key}; it has {sorted(lists)}.")
        shape = context[f"{prefix}/{FEATURE_DIMENSIONS}"].int64_list.value
        name = context[f"{prefix}/{FEATURE_TYPE}"].bytes_list.value[0].decode()
        content = b"".join(step.bytes_list.value[0] for step in lists[key].feature)
        dtype = np.dtype(name).newbyteorder("<")
        arrays.append(np.frombuffer(content, dtype).reshape(shape))
    return arrays


def _serialize(context, lists):
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(
            feature_list={
                key: tf.train.FeatureList(feature=steps) for key, steps in lists.items()
            }
        ),
    )
    # Maps have no order of their own: two runs would write different bytes.
    return example.SerializeToString(deterministic=True)


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
