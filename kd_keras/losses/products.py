"""Products with matrices of scores or weights, tokens by tokens, that may be large.

None is turned around in memory where it is larger than the maps: XLA on CPUs takes
longer for that than for a product.
"""

from keras import ops


def transpose(maps):
    """(batch, tokens, channels) -> (batch, channels, tokens)."""
    return ops.transpose(maps, (0, 2, 1))


def transposed_product(weights, x):
    """weightsᵀ x."""
    return ops.einsum("bij,bik->bjk", weights, x)


def symmetric_product(weights, x, alpha):
    """alpha (weights + weightsᵀ) x."""
    if has_few_tokens(x):
        return ops.matmul(alpha * (weights + transpose(weights)), x)
    x = alpha * x
    return ops.matmul(weights, x) + transposed_product(weights, x)


def has_few_tokens(x):
    """Whether the scores of a map are smaller than the map: cheaper to pass over."""
    _, tokens, channels = x.shape
    return tokens is not None and tokens < channels
