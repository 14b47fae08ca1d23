"""Functions with a gradient of their own, on every Keras backend."""

from keras import ops


def custom_gradient(function):
    """`keras.ops.custom_gradient`, where the gradient is asked alike by every backend.

    Args:
        function: Tensors -> (one tensor, the function from its upstream gradient to
            the gradients of the tensors).
    """

    @ops.custom_gradient
    def with_gradient(*tensors):
        # Or else TensorFlow, run eagerly, records what the gradient replaces.
        value, gradient = function(*map(ops.stop_gradient, tensors))

        def of_upstream(*arguments, upstream=None):
            return gradient(arguments[-1] if upstream is None else upstream)

        return value, of_upstream

    return with_gradient
