"""What a trained network computes in, and the same network in bfloat16."""

import keras
from keras import layers

_POLICY = "mixed_bfloat16"


def precision_of(model: keras.Model) -> str:
    """`float32`, or the half precision of any of the layers, also of inner networks."""
    for layer in model.layers:
        found = layer.compute_dtype
        if isinstance(layer, keras.Model):
            found = precision_of(layer)
        if "16" in found:
            return found
    return "float32"


def in_bfloat16(model: keras.Model) -> keras.Model:
    """Returns a network of the same weights that computes in bfloat16.

    It computes as one that was trained under Keras's policy mixed_bfloat16: weights are
    kept in float32 and rounded when they are used. The head, whose layers are named
    `Logits...`, and the scaling of levels stay in float32. What is in half precision
    already stays as it is.

    Args:
        model: A functional or sequential network, which is not changed.
    """

    def twin(operation):
        if isinstance(operation, keras.Model):
            return in_bfloat16(operation)
        if not isinstance(operation, keras.Layer):
            return operation
        layer = type(operation).from_config(operation.get_config())
        if _can_be_rounded(layer):
            layer.dtype_policy = _POLICY
        return layer

    rounded = keras.models.clone_model(model, clone_function=twin)
    rounded.set_weights(model.get_weights())
    return rounded


def _can_be_rounded(layer) -> bool:
    return (
        layer.compute_dtype == "float32"
        and not layer.name.startswith("Logits")
        and not isinstance(layer, layers.Rescaling)
    )
