"""Which part of a data set trains, which is evaluated, and which one chooses."""

from kd_keras.data import holdout
from kd_keras.data.segments import HELD_OUT, TEST, VAL, Index
from train.flags.data import Data


def evaluated(flags: Data, index: Index) -> str:
    """Returns the part that --eval_part names.

    Args:
        flags: The run's `Data` flags.
        index: Before anything is held out.
    """
    labeled = _labeled(index)
    wanted = flags.eval_part
    if wanted == "auto":
        wanted = VAL if VAL in labeled else TEST
    if wanted not in labeled:
        raise ValueError(
            f"There is no labeled segment of the part {wanted!r} to evaluate on, in a "
            f"video that can be read; labels are in {', '.join(sorted(labeled))}."
        )
    return wanted


def hold_out(flags: Data, index: Index) -> Index:
    """Returns the index with the videos of --holdout in a part of their own."""
    if flags.holdout is None:
        return index
    return holdout.hold_out(index, flags.holdout, flags.label_seed)


def choosing(index: Index) -> str | None:
    """Returns the part by which students and weights are chosen, or None.

    The test part never chooses, because its score would then be too good.

    Args:
        index: After `hold_out`.
    """
    labeled = _labeled(index)
    return next((part for part in (HELD_OUT, VAL) if part in labeled), None)


def _labeled(index: Index) -> set[str]:
    """The parts that have labels."""
    return {index.videos[s.video].part for s in index.segments if s.label is not None}
