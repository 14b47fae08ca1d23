"""Two-stream fusion: the logits of networks that see the same clip, added."""

from collections.abc import Sequence


def fuse_logits(logits: Sequence, weights: Sequence[float]):
    """The weighted sum of logits, which is what the paper's Table 1 compares.

    Args:
        logits: Arrays or tensors of the same shape, one for each stream.
        weights: One for each stream.
    Raises:
        ValueError: If there are not as many weights as streams.
    """
    if len(logits) != len(weights):
        raise ValueError(
            f"Each stream needs one weight. Got {len(logits)} streams and the weights "
            f"{tuple(weights)}."
        )
    return sum(weight * one for weight, one in zip(weights, logits, strict=True))
