"""The signatures of an exported student, one module each.

Each module has three plain functions:

- `inputs(student)`: the signature's inputs, with the shapes that clients are told.
- `serve(student, **inputs)`: its outputs; TensorFlow operations alone.
- `example(student, frames)`: inputs that show these uint8 frames. To a student of
  features, `frames` are float32 features (batch, time, height, width, channels).

A signature of one student that gives anything but the anticipation of these frames has
a fourth, `answers(student, frames)`: the outputs that the check expects for an example.

Whatever enters is checked in the graph, before memory is spent on it: a request that
cannot be answered fails with a sentence, and the server goes on.
"""

from types import ModuleType

import tensorflow as tf

from export.signatures import (
    clip,
    describe,
    encoded_alone,
    encoded_frames,
    features,
    frames,
    frames_alone,
    frames_and_flow,
    given_features,
    init_state,
    map_of_features,
    step,
)
from export.signatures.served_student import ServedStudent
from export.signatures.two_streams import TwoStreams

_MODULES = {
    "serving_default": frames,
    "encoded_frames": encoded_frames,
    "clip": clip,
    "features": features,
    "describe": describe,
    "init_state": init_state,
    "step": step,
}
_OF_FEATURES = {
    "serving_default": given_features,
    "features": map_of_features,
    "describe": describe,
}
_TWO_STREAMS = {
    "serving_default": frames_alone,
    "encoded_frames": encoded_alone,
    "frames_and_flow": frames_and_flow,
    "describe": describe,
}


def signatures_of(student: ServedStudent | TwoStreams) -> dict[str, ModuleType]:
    """The modules of a student's signatures, by the name of the signature.

    A network that has no layer to read a feature map from has no `features`.
    """
    if isinstance(student, TwoStreams):
        return _TWO_STREAMS
    takes_features = student.spec.clip_format.modality == "features"
    modules = _OF_FEATURES if takes_features else _MODULES
    names = [name for name in modules if name != "features" or student.feature_layer]
    return {name: modules[name] for name in names}


def functions_of(
    student: ServedStudent | TwoStreams,
) -> dict[str, tf.types.experimental.Callable]:
    """The concrete function of each signature, as `tf.saved_model.save` takes them."""
    return {
        name: _concrete(student, name, module)
        for name, module in signatures_of(student).items()
    }


def _concrete(student, name, module):
    # Of any shape in the graph: TensorFlow would refuse other inputs by itself, in
    # words that do not say what was expected.
    open_inputs = {
        key: tf.TensorSpec(None, spec.dtype, key)
        for key, spec in module.inputs(student).items()
    }

    def serve(**given):
        return module.serve(student, **given)

    serve.__name__ = name
    return tf.function(serve, autograph=False).get_concrete_function(**open_inputs)
