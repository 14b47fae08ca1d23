"""The signature `frames_and_flow` of two streams: for clients that have the flow."""

import numpy as np
import tensorflow as tf

from export import preprocess
from export.signatures import frames as frames_signature
from export.signatures.two_streams import TwoStreams


def inputs(student: TwoStreams) -> dict[str, tf.TensorSpec]:
    return {
        **frames_signature.inputs(student.rgb),
        "flow": frames_signature.inputs(student.flow)["frames"],
    }


def serve(
    student: TwoStreams, frames: tf.Tensor, flow: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Anticipates from frames and the 8-bit levels of u and v, as `preprocess` says.

    Shapes:
        frames: uint8 (batch, time, height, width, channels).
        flow: uint8 (batch, time, height, width, 2). Only its batch must be that of
            `frames`.
    """
    frames = preprocess.checked(frames, student.rgb.channels)
    flow = preprocess.checked(flow, student.flow.channels, "flow")
    batches = tf.shape(frames)[0], tf.shape(flow)[0]
    same = tf.debugging.Assert(
        tf.equal(*batches),
        ["frames and flow must have the same batch. Got", *batches],
    )
    with tf.control_dependencies([same]):
        frames = tf.identity(frames)
    return student.anticipate(
        preprocess.prepare_frames(frames, student.rgb.spec.clip_format),
        preprocess.prepare_frames(flow, student.flow.spec.clip_format),
    )


def example(student: TwoStreams, frames: np.ndarray) -> dict[str, np.ndarray]:
    # Any levels will do.
    levels = np.concatenate([frames, frames[:, ::-1]], axis=-1)[..., :2]
    return {"frames": frames, "flow": levels}
