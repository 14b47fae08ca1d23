"""Where tokens of the observed clip attend in the future clip, and back.

It is the attention of L_d between the student's map of the observed clip and the
teacher's map of the future clip (paper, Fig. 2).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
import numpy as np

from kd_keras.losses.attentional_pooling import attention_weights
from kd_keras.losses.tensor import Tensor
from kd_keras.training.feature_reader import feature_reader
from train.report.activation import class_activation

# More cells than this are joined to larger ones: a page is to stay small.
_MOST_CELLS = 400

# Cells along (time, height, width).
Grid: TypeAlias = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Correspondence:
    """Attention between the cells of two clips.

    A cell is a token of a feature map, or a block of tokens if there are many. Cells
    are numbered by time, then row, then column.

    Attributes:
        observed, future: The clips (time, height, width, channels), uint8.
        observed_grid, future_grid: Cells along (time, height, width).
        forward: How much each observed cell attends to each future cell (observed,
            future). A row sums to 1.
        backward: The same from future cells to observed ones (future, observed).
        activation: The class activation of each observed cell (observed,).
    """

    observed: np.ndarray
    future: np.ndarray
    observed_grid: Grid
    future_grid: Grid
    forward: np.ndarray
    backward: np.ndarray
    activation: np.ndarray

    @property
    def strongest(self) -> int:
        """The observed cell that speaks most for the class that the student names."""
        return int(self.activation.argmax())


def attend(
    student: keras.Model,
    teacher: keras.Model,
    layers: Sequence[str],
    alpha: float | None,
    observed: np.ndarray,
    future: np.ndarray,
    normalize: Callable[[np.ndarray], Tensor],
) -> Correspondence:
    """Returns the `Correspondence` of a pair of clips.

    Args:
        student: Network from observed clips to logits.
        teacher: Network from future clips to logits.
        layers: Names of the student's and the teacher's layer whose maps are compared.
        alpha: Sharpness of the attention; None means 1/sqrt(channels).
        observed, future: Clips (time, height, width, channels), uint8.
        normalize: Turns clips into the networks' input.
    Raises:
        ValueError: If a map has no time, height and width, or the channels differ.
    """
    inputs = normalize(observed[None]), normalize(future[None])
    logits, student_map = _map_of(student, layers[0], inputs[0])
    _, teacher_map = _map_of(teacher, layers[1], inputs[1])
    maps = [student_map, teacher_map]
    if maps[0].shape[-1] != maps[1].shape[-1]:
        raise ValueError(
            f"The maps of {layers[0]} and {layers[1]} have {maps[0].shape[-1]} and "
            f"{maps[1].shape[-1]} channels; attention needs as many in both."
        )
    grids = [_grid_of(feature_map) for feature_map in maps]
    forward, backward = (
        keras.ops.convert_to_numpy(attention_weights(queries, values, alpha))[0]
        for queries, values in (maps, maps[::-1])
    )
    coarse = [_coarser(grid) for grid in grids]
    named = [int(keras.ops.argmax(logits))]
    activation = class_activation(student, layers[0], inputs[0], named)
    return Correspondence(
        observed=observed,
        future=future,
        observed_grid=coarse[0],
        future_grid=coarse[1],
        forward=joined(forward, grids, coarse),
        backward=joined(backward, grids[::-1], coarse[::-1]),
        activation=_mean_of_blocks(grids[0], coarse[0]) @ activation.reshape(-1),
    )


def cell_of(found: Correspondence, token: Sequence[int] | None = None) -> int:
    """Returns the number of an observed cell of a `Correspondence`.

    Args:
        token: Its (time, row, column); None takes the strongest.
    Raises:
        ValueError: If there is no such cell.
    """
    if token is None:
        return found.strongest
    grid = found.observed_grid
    if len(token) != 3 or any(
        not 0 <= place < size for place, size in zip(token, grid, strict=False)
    ):
        raise ValueError(
            "--token is TIME,ROW,COLUMN, each from 0, in a grid of "
            f"{' x '.join(map(str, grid))} cells. Got {','.join(map(str, token))}."
        )
    return int(np.ravel_multi_index(token, grid))


def joined(
    weights: np.ndarray, grids: Sequence[Grid], coarse: Sequence[Grid]
) -> np.ndarray:
    """Returns the weights between blocks of tokens.

    A block attends as its tokens do on average, to the sum of another block's tokens.

    Args:
        weights: (queries, values), a row for each token of the first grid.
        grids: Tokens along (time, height, width), of queries and of values.
        coarse: Blocks along the same.
    """
    to_sums = _membership(grids[1], coarse[1]).T
    return _mean_of_blocks(grids[0], coarse[0]) @ weights @ to_sums


def _mean_of_blocks(grid: Grid, blocks: Grid) -> np.ndarray:
    """(blocks, tokens): what averages the tokens of each block."""
    members = _membership(grid, blocks)
    return members / members.sum(1, keepdims=True)


def _membership(grid: Grid, blocks: Grid) -> np.ndarray:
    """(blocks, tokens): 1 if a token belongs to a block."""
    places = [
        np.arange(size) * count // size
        for size, count in zip(grid, blocks, strict=True)
    ]
    time, row, column = np.meshgrid(*places, indexing="ij")
    block = (time * blocks[1] + row) * blocks[2] + column
    return (np.arange(np.prod(blocks))[:, None] == block.reshape(-1)).astype(np.float32)


def _coarser(grid: Grid) -> Grid:
    """Halves the longest axes until there are few cells."""
    sizes = list(grid)
    while np.prod(sizes) > _MOST_CELLS:
        longest = int(np.argmax(sizes))
        sizes[longest] = -(-sizes[longest] // 2)
    time, height, width = sizes
    return time, height, width


def _grid_of(feature_map: Tensor) -> Grid:
    _, time, height, width, _ = feature_map.shape
    return time, height, width


def _map_of(model: keras.Model, layer: str, clips: Tensor) -> tuple[Tensor, Tensor]:
    logits, feature_map = feature_reader(model, layer)(clips)
    if len(feature_map.shape) != 5:
        raise ValueError(
            f"The map of {layer} must be (batch, time, height, width, channels) to be "
            f"shown on frames. Got {tuple(feature_map.shape)}."
        )
    return logits, feature_map
