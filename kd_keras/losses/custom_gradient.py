"""Functions whose gradient is written by hand, on every Keras backend."""

from keras import ops


def custom_gradient(function):
    """`keras.ops.custom_gradient` with one signature of the gradient on every backend.

    Backends call the gradient function with different arguments.

    Args:
        function: Tensors -> (one tensor, the function from its upstream gradient to
            the gradients of the tensors).
    """

    @ops.custom_gradient
    def with_gradient(*tensors):
        # Without this, eager TensorFlow records the operations that the gradient
        # replaces.
        value, gradient = function(*map(ops.stop_gradient, tensors))

        def of_upstream(*arguments, upstream=None):
            return gradient(arguments[-1] if upstream is None else upstream)

        return value, of_upstream

    return with_gradient
