"""Values and gradients of a function of one array, on whichever backend runs."""

import keras
import numpy as np


def value_and_gradient(function, x):
    """Returns `function(x)`, (batch,), and the gradient of its sum, as NumPy arrays.

    The gradient is None where nothing depends on x (TensorFlow) and on the NumPy
    backend, which has no gradients.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        gradient = tape.gradient(value, x)
    elif backend == "jax":
        import jax

        value, vjp = jax.vjp(function, jax.numpy.asarray(x))
        (gradient,) = vjp(jax.numpy.ones_like(value))
    elif backend == "torch":
        x = keras.ops.convert_to_tensor(x).requires_grad_()
        value = function(x)
        if value.requires_grad:
            value.sum().backward()
        gradient = x.grad
    else:
        value, gradient = function(x), None
    to_numpy = keras.ops.convert_to_numpy
    return to_numpy(value), None if gradient is None else to_numpy(gradient)


def complex_step(function, x):
    """Gradient of `function(x)`, a float64 number, exact to rounding.

    f(x + ih) = f(x) + ih f'(x) + O(h²) has no difference that would cancel; the
    function must be analytic and written so that it passes complex numbers on.
    """
    x = np.asarray(x, "float64")
    gradient = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        shifted = x.astype("complex128")
        shifted[index] += 1e-30j
        gradient[index] = function(shifted).imag / 1e-30
    return gradient


def relative_error(got, want):
    """|got - want| / |want|, in the norm over all elements."""
    got, want = np.asarray(got, "float64"), np.asarray(want)
    return np.linalg.norm(got - want) / np.linalg.norm(want)
