"""Images in a folder or a tar, once they are found."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images without a gap in their numbers, in the order of these.

    Attributes:
        path: The folder, or the tar.
        names: Of the files below it, as bytes: one long video has 100,000 of them.
        places: For a tar, int64 (images, 2): where each begins, and its bytes.
    """

    path: pathlib.Path
    names: np.ndarray
    places: np.ndarray | None = None

    def __len__(self):
        return len(self.names)

    def files(self, positions: Iterable[int]) -> list[pathlib.Path]:
        """Returns the file of each image in a folder; those in a tar have none."""
        return [] if self.places is not None else list(self._paths(positions))

    def read(self, positions: Iterable[int]) -> Iterator[tuple[str, bytes]]:
        """Yields what messages call each image, and its bytes."""
        names = self._paths(positions)
        if self.places is None:
            for name in names:
                yield str(name), name.read_bytes()
            return
        with open(self.path, "rb") as tar:
            for name, (start, size) in zip(names, self.places[positions], strict=True):
                tar.seek(start)
                yield str(name), tar.read(size)

    def _paths(self, positions):
        return (self.path / os.fsdecode(self.names[i]) for i in positions)
