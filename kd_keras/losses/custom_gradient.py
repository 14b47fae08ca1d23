"""Functions whose gradient is written by hand, on every Keras backend."""

from collections.abc import Callable
from typing import TypeAlias

from keras import ops

from kd_keras.losses.tensor import Tensor

# From the gradient of a function's result to the gradients of its tensors.
Gradient: TypeAlias = Callable[[Tensor], Tensor | tuple[Tensor, ...]]


def custom_gradient(
    function: Callable[..., tuple[Tensor, Gradient]],
) -> Callable[..., Tensor]:
    """`keras.ops.custom_gradient` with one signature of the gradient on every backend.

    Backends call the gradient function with different arguments.

    Args:
        function: Tensors -> (one tensor, the function from its upstream gradient to
            the gradients of the tensors).
    """

    @ops.custom_gradient
    def with_gradient(*tensors: Tensor) -> tuple[Tensor, Gradient]:
        # Without this, eager TensorFlow records the operations that the gradient
        # replaces.
        value, gradient = function(*map(ops.stop_gradient, tensors))

        def of_upstream(
            *arguments: Tensor, upstream: Tensor | None = None
        ) -> Tensor | tuple[Tensor, ...]:
            return gradient(arguments[-1] if upstream is None else upstream)

        return value, of_upstream

    return with_gradient
