"""Which pair each position of the endless training stream shows."""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Sequence

import numpy as np

from kd_keras.data.clips.views import MAX_VIEWS
from kd_keras.data.segments import Pair


@dataclasses.dataclass(frozen=True)
class SamplingPolicy:
    """How often pairs are shown.

    Attributes:
        balanced: Whether a pass shows the labeled pairs of each class equally often;
            otherwise each pair once.
        labeled_per_batch: Labeled pairs in each batch; None leaves it to chance.
        batch_size: Size of that batch; needed only with `labeled_per_batch`.
    """

    balanced: bool = False
    labeled_per_batch: int | None = None
    batch_size: int | None = None

    def __post_init__(self):
        if self.labeled_per_batch is None:
            return
        if not 0 < self.labeled_per_batch < self.batch_size:
            raise ValueError(
                "labeled_per_batch must lie between 1 and the batch size less 1, "
                f"{self.batch_size - 1}. Got {self.labeled_per_batch}."
            )


def rows_of_worker(worker: int, count: int, batch_size: int) -> range:
    """The rows of a batch that one of so many workers makes.

    They follow each other, as `labeled_per_batch` spreads labeled pairs over a batch.
    """
    number = batch_size // count
    return range(worker * number, (worker + 1) * number)


class SampleOrder:
    """The order of training pairs: a function of seed and position alone.

    Every run of `len(pairs)` positions is one shuffled pass over the pairs. With
    `labeled_per_batch`, labeled and unlabeled pairs have passes of their own.

    Args:
        pairs: The pairs that a pass visits.
        seed: Of the order.
        views: Augmented views of a pair, shown in turn by its passes; 0 has none.
        sampling: How often pairs are shown.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        seed: int,
        views: int = 0,
        sampling: SamplingPolicy = SamplingPolicy(),
    ):
        if not 0 <= views <= MAX_VIEWS:
            raise ValueError(f"views must lie between 0 and {MAX_VIEWS}. Got {views}.")
        self.pairs, self.seed, self.views = pairs, seed, views
        self._sampling = sampling
        everything = np.arange(len(pairs))
        self._groups = [everything]
        if sampling.labeled_per_batch is not None:
            labeled = np.array([pair.label is not None for pair in pairs])
            self._groups = [everything[labeled], everything[~labeled]]
            if not all(map(len, self._groups)):
                raise ValueError(
                    "labeled_per_batch needs labeled and unlabeled pairs. Got "
                    f"{len(self._groups[0])} and {len(self._groups[1])}."
                )
        # Batches may span two passes, and reading ahead a third.
        self._shuffled = functools.lru_cache(maxsize=4 * len(self._groups))(
            self._shuffle
        )

    def index(self, position: int) -> int:
        """The position in `pairs` of the pair that is to be shown."""
        return next(self.candidates(position))

    def candidates(self, position: int) -> Iterator[int]:
        """That pair, and those that may take its place, the next ones first.

        With `labeled_per_batch` they are labeled if it is, and only then.
        """
        group, number, place = self._find(position)
        members = self._groups[group]
        first = np.searchsorted(members, self._shuffled(group, number)[place])
        for step in range(len(members)):
            yield int(members[(first + step) % len(members)])

    def view(self, position: int) -> int:
        """Which of its views the pair at this position shows."""
        _, number, _ = self._find(position)
        return number % self.views

    def _find(self, position):
        """Returns the group of a position, its pass and the place in it."""
        group, place = 0, position
        wanted, size = self._sampling.labeled_per_batch, self._sampling.batch_size
        if wanted is not None:
            batch, row = divmod(position, size)
            # Spread over the batch, so that each part of it has its share.
            before, after = row * wanted // size, (row + 1) * wanted // size
            if after > before:
                place = batch * wanted + before
            else:
                group, place = 1, batch * (size - wanted) + row - before
        return group, *divmod(place, len(self._groups[group]))

    def _shuffle(self, group, number):
        generator = np.random.default_rng([self.seed % 2**64, number, group])
        members = self._groups[group]
        if self._sampling.balanced:
            members = self._balance(members, generator)
        return members[generator.permutation(len(members))]

    def _balance(self, members, generator):
        """Replaces the labeled ones of the members by equally many of each class."""
        by_class = collections.defaultdict(list)
        for index in members:
            by_class[self.pairs[index].label].append(index)
        unlabeled = by_class.pop(None, [])
        if not by_class:
            return members
        total = len(members) - len(unlabeled)
        chosen = list(unlabeled)
        # What does not divide goes to classes in turn.
        classes = generator.permutation(sorted(by_class))
        for rank, label in enumerate(classes):
            wanted = total // len(classes) + (rank < total % len(classes))
            own = by_class[int(label)]
            while wanted > 0:
                chosen.extend(generator.permutation(own)[:wanted])
                wanted -= len(own)
        return np.array(chosen)
