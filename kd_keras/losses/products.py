"""Products with matrices of scores or weights, tokens by tokens, that may be large.

None is turned around in memory: XLA on CPUs takes longer for that than for a product.
"""

from keras import ops


def transpose(maps):
    """(batch, tokens, channels) -> (batch, channels, tokens)."""
    return ops.transpose(maps, (0, 2, 1))


def transposed_product(weights, x):
    """weightsᵀ x."""
    return ops.einsum("bij,bik->bjk", weights, x)


def symmetric_product(weights, x):
    """(weights + weightsᵀ) x."""
    tokens, channels = weights.shape[-1], x.shape[-1]
    if tokens is not None and tokens < channels:
        return ops.matmul(weights + transpose(weights), x)
    return ops.matmul(weights, x) + transposed_product(weights, x)
