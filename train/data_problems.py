"""Problems and warnings of a data set, at the start of a run and by --check."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from kd_keras.data.checks import labels as check_labels
from kd_keras.data.checks import lead_time as check_lead_time
from kd_keras.data.class_names import visible
from kd_keras.data.csv_table import stop_at
from kd_keras.data.segments import Index, Pair
from train.flags.data import Data
from train.loop import guards

# Users can correct their own annotations. Releases are used as they are, because the
# published counts include the one action of THUMOS14 that has two labels.
_OWN_ANNOTATIONS = ("csv", "demo", "features")
# Labeled pairs by part.
_ByPart: TypeAlias = Mapping[str, Sequence[Pair]]


def problems(flags: Data, index: Index, pairs: _ByPart) -> list[str]:
    """Returns a sentence for everything that cannot be right.

    Args:
        flags: The run's `Data` flags.
        index: With every label.
        pairs: Labeled pairs by part.
    """
    found = [text for text, stops in _unseen(flags, index, pairs) if stops]
    if flags.dataset in _OWN_ANNOTATIONS and len(index.classes) < 2:
        found.append(
            f"there is one class alone, {', '.join(map(visible, index.classes))}: a "
            "network needs others to tell it from; label segments of another class"
        )
    # Prepared data was looked over with its annotations at hand.
    if flags.dataset in _OWN_ANNOTATIONS and flags.records is None:
        found += check_labels.contradictions(index.segments)
    return found


def warnings(flags: Data, index: Index, pairs: _ByPart) -> list[str]:
    """Returns a sentence for everything that makes a part of the data useless."""
    return [text for text, stops in _unseen(flags, index, pairs) if not stops]


def remarks(flags: Data, index: Index) -> list[str]:
    """Returns a sentence for each label that may be wrong."""
    found = check_labels.remarks(index)
    if flags.dataset not in _OWN_ANNOTATIONS:
        found += check_labels.contradictions(index.segments)
    return found


def look_over(flags: Data, index: Index, pairs: _ByPart) -> None:
    """Prints remarks and warnings; raises a ValueError if there are problems."""
    for remark in remarks(flags, index):
        print(f"Remark: {remark}.", flush=True)
    for warning in warnings(flags, index, pairs):
        guards.warn(f"{warning}.")
    stop_at("The data set", problems(flags, index, pairs))


def _unseen(flags: Data, index: Index, pairs: _ByPart) -> Iterator[tuple[str, bool]]:
    """Yields (text, whether the run stops) if clips of a part precede their videos."""
    if flags.observed_fraction is not None:
        return
    for part, members in pairs.items():
        text, stops = check_lead_time.describe(part, members, index, flags.lead_time_s)
        if text is not None:
            yield text, stops
