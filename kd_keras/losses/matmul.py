"""Products with matrices of scores or weights, tokens by tokens, that may be large.

They avoid transposing matrices that are larger than the maps: XLA on CPUs takes longer
for that than for a product.
"""

from keras import ops

from kd_keras.losses.tensor import Tensor


def transpose(maps: Tensor) -> Tensor:
    """(batch, tokens, channels) -> (batch, channels, tokens)."""
    return ops.transpose(maps, (0, 2, 1))


def transposed_product(weights: Tensor, x: Tensor) -> Tensor:
    """weightsᵀ x."""
    return ops.einsum("bij,bik->bjk", weights, x)
