"""What the hints of the losses and of the distiller call a tensor."""

from typing import Any, TypeAlias

# A tensor of whichever backend Keras runs on, or a NumPy array, which `keras.ops` takes
# as well. These classes share no base, so type checkers accept anything.
Tensor: TypeAlias = Any

# A length, or a position, that a graph may not know before it runs.
Size: TypeAlias = int | Tensor
