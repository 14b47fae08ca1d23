"""Requests that a server answers while it loads a version, so that no client waits.

A TFRecord of TF Serving's PredictionLog. Each tensor states its shape and one value,
which stands for all, so that a record takes a few hundred bytes whatever its clip.
"""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from export.server_files import BATCH_SIZES
from export.signatures import ServedStudent, signatures_of

# Where TF Serving looks for it.
WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"


def write(student: ServedStudent, model_name: str, path: str | os.PathLike) -> None:
    """Writes a request for each signature and each of `BATCH_SIZES`."""
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for name, inputs in _requests(student):
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            for key, proto in inputs.items():
                request.inputs[key].CopyFrom(proto)
            writer.write(log.SerializeToString(deterministic=True))


def read(path: str | os.PathLike) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields the signature and the inputs of each request."""
    for record in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {key: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def _requests(student):
    frames = _frames(student)
    for name, module in signatures_of(student).items():
        example = module.example(student, frames)
        for size in BATCH_SIZES:
            yield name, {key: _repeated(value, size) for key, value in example.items()}


def _frames(student):
    """One clip of equal values, as the examples of signatures take it."""
    clip_format = student.spec.clip_format
    if clip_format.modality == "features":
        return clip_format.blank_clip[None]
    num_frames, *_, channels = student.clip_shape
    # Not the clip's own size, so that resizing is warmed up, too.
    side = clip_format.resized_side + 1
    gray = np.full((1, 1, side, side, channels), 128, np.uint8)
    return np.broadcast_to(gray, (1, num_frames, side, side, channels))


def _repeated(example, batch):
    """A tensor of equal values, as its shape and the first of them."""
    first = example.reshape(-1)[0]
    if not (example == first).all():
        raise ValueError("Requests to warm up with hold one value.")
    proto = tf.make_tensor_proto(first)
    shape = tf.TensorShape((batch, *example.shape[1:]))
    proto.tensor_shape.CopyFrom(shape.as_proto())
    if proto.tensor_content:
        raise ValueError("A single value is not stored as bytes.")
    return proto
