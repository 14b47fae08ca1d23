"""Makes pairs of an observed and a future clip from segments: arithmetic, no video.

Times are float seconds from the start of a video; a clip is [start_s, end_s). An
observed clip may reach before the video's first frame: that part is padded with the
first frame when the clip is read, and no pair is dropped for it.
"""

import bisect
import collections
import dataclasses
import fractions
import math
import random
from collections.abc import Iterable, Sequence

import numpy as np

from kd_keras.data.segments import (
    HELD_OUT,
    PARTS,
    TRAIN,
    Clip,
    Index,
    Pair,
    Segment,
)

# Times of one video that differ by less are the same: rounding, never a frame.
SAME_S = 1e-6
# A frame that begins so little before a segment belongs to it: annotations and some
# containers round to milliseconds.
_SAME_FRAME_S = 1e-3


@dataclasses.dataclass(frozen=True)
class Timing:
    """Where the two clips of a pair lie, by lead time or by fraction.

    By lead time: the observed clip is
    [start - lead_time_s - observed_s, start - lead_time_s) and the future clip the
    segment, or its first `future_s` seconds, which may reach past the segment but not
    past the video.

    By fraction (J-HMDB): the observed clip is the first max(1, round(f N)) of the
    segment's N frames, halves rounded up, and the future clip the whole segment.

    Attributes:
        lead_time_s: Seconds, >= 0. Unused with `observed_fraction`, as are the next.
        observed_s: Seconds, > 0.
        future_s: Seconds, > 0, or None for the whole segment.
        observed_fraction: In (0, 1], or None for pairs by lead time.
    """

    lead_time_s: float | None = None
    observed_s: float | None = None
    future_s: float | None = None
    observed_fraction: float | None = None

    def __post_init__(self):
        if self.observed_fraction is not None:
            if not 0 < self.observed_fraction <= 1:
                raise ValueError(
                    "observed_fraction must be above 0 and at most 1. Got "
                    f"{self.observed_fraction}."
                )
            return
        if self.lead_time_s is None or not 0 <= self.lead_time_s < math.inf:
            raise ValueError(
                f"lead_time_s must be at least 0 seconds. Got {self.lead_time_s}; give "
                "it, or observed_fraction."
            )
        if self.observed_s is None or not 0 < self.observed_s < math.inf:
            raise ValueError(
                f"observed_s must be above 0 seconds. Got {self.observed_s}."
            )
        if self.future_s is not None and not 0 < self.future_s < math.inf:
            raise ValueError(
                f"future_s must be above 0 seconds, or None. Got {self.future_s}."
            )

    def pair_at(self, index: Index, segment: Segment, label: int | None) -> Pair:
        """Returns the pair whose future clip lies at a segment."""
        whole = Clip(segment.video, segment.start_s, segment.end_s)
        if self.observed_fraction is not None:
            end_s = _fraction_end_s(index, segment, self.observed_fraction)
            observed = dataclasses.replace(whole, end_s=end_s)
            return Pair(observed, whole, label, segment.uid)
        return Pair(
            self.observed_before(segment.video, segment.start_s),
            whole if self.future_s is None else self._future(index, segment),
            label,
            segment.uid,
        )

    def observed_before(self, video: str, start_s: float) -> Clip:
        """Returns the observed clip of a future clip that starts at a time."""
        end_s = start_s - self.lead_time_s
        return Clip(video, end_s - self.observed_s, end_s)

    def _future(self, index, segment):
        end_s = min(segment.start_s + self.future_s, index.durations_s[segment.video])
        return Clip(segment.video, segment.start_s, end_s)


def withhold_labels(index: Index, labeled_fraction: float, seed: int = 0) -> Index:
    """Keeps the labels of a fraction of the training segments and hides the others.

    Each class is shuffled by the seed and spread evenly over one list, whose front is
    kept: classes keep their shares, every class keeps at least one label, and a larger
    fraction with the same seed keeps all that a smaller one did. The order of the
    annotations has no influence. The number kept is labeled_fraction times the labeled
    training segments, halves rounded up, and never less than the number of classes.

    Args:
        index: Of the whole data set; validation and test segments are untouched.
        labeled_fraction: In (0, 1].
        seed: Any integer.
    Returns:
        The index with the other training segments' label None and `withheld` True.
    """
    if not 0 < labeled_fraction <= 1:
        raise ValueError(
            f"labeled_fraction must be above 0 and at most 1. Got {labeled_fraction}; "
            "the teacher needs labels of every class."
        )
    labeled = [
        position
        for position, segment in enumerate(index.segments)
        if segment.label is not None and index.videos[segment.video].part == TRAIN
    ]
    ranked = _spread_by_class(index.segments, labeled, random.Random(seed))
    num_classes = len({index.segments[position].label for position in labeled})
    num_kept = max(num_classes, _round_half_up(labeled_fraction, len(labeled)))
    withheld = set(ranked[num_kept:])
    return dataclasses.replace(
        index,
        segments=tuple(
            dataclasses.replace(segment, label=None, withheld=True)
            if position in withheld
            else segment
            for position, segment in enumerate(index.segments)
        ),
    )


def labeled_pairs(index: Index, part: str, timing: Timing) -> list[Pair]:
    """Returns one pair for each labeled segment of a part, in the segments' order.

    A pair whose observed clip lies wholly before the video is kept: the student then
    sees the first frame repeated (`summarize_pairs` counts these).

    Args:
        part: `train`, `val`, `test` or `held_out`.
    """
    known = (*PARTS, HELD_OUT)
    if part not in known:
        raise ValueError(f"part must be one of {', '.join(known)}. Got {part!r}.")
    labels = {name: number for number, name in enumerate(index.classes)}
    return [
        timing.pair_at(index, segment, labels[segment.label])
        for segment in index.segments
        if segment.label is not None and index.videos[segment.video].part == part
    ]


def labels_of(pairs: Iterable[Pair]) -> list[int]:
    """Returns the class indices of labeled pairs; pairs without a label give none."""
    return [pair.label for pair in pairs if pair.label is not None]


@dataclasses.dataclass(frozen=True)
class PairSummary:
    """What a list of pairs holds, for messages and results.

    Attributes:
        num_padded: Pairs whose observed clip begins before the video's first frame.
        num_unseen: Padded pairs whose observed clip also ends before it, so that it
            shows nothing but the first frame.
        footage_hours: Of the clips together, footage that several show counted once.
    """

    num_pairs: int
    num_labeled: int
    num_unlabeled: int
    num_videos: int
    num_padded: int
    num_unseen: int
    footage_hours: float

    def __str__(self):
        text = (
            f"{self.num_pairs} pairs ({self.num_labeled} labeled, {self.num_unlabeled} "
            f"unlabeled) from {self.footage_hours:.2f} h of {self.num_videos} videos"
        )
        if self.num_padded:
            text += (
                f"; {self.num_padded} observed clips are padded with the first frame, "
                f"{self.num_unseen} of them entirely"
            )
        return text


def previous_labels(pairs: Sequence[Pair]) -> list[int | None]:
    """Returns for each pair the label of the last action that its viewer may know.

    That is the one, of the pairs given, that began last in the same video by the end
    of the observed clip, and before the pair's own action; None if there is none.
    """
    places = collections.defaultdict(list)
    for place, pair in enumerate(pairs):
        places[pair.future.video].append(place)
    previous = [None] * len(pairs)
    for members in places.values():
        members.sort(key=lambda place: (pairs[place].future.start_s, place))
        starts_s = [pairs[place].future.start_s for place in members]
        for place in members:
            observed, future = pairs[place].observed, pairs[place].future
            known = bisect.bisect_right(starts_s, observed.end_s + SAME_S)
            known = min(known, bisect.bisect_left(starts_s, future.start_s))
            if known:
                previous[place] = pairs[members[known - 1]].label
    return previous


def summarize_pairs(pairs: Iterable[Pair], index: Index | None = None) -> PairSummary:
    """Counts the pairs, the padding, and the hours of footage that they show.

    Args:
        index: Knows when the first frame of each video is shown; None takes 0.
    """
    pairs = list(pairs)

    def begins_s(clip):
        return 0.0 if index is None else index.begins_s(clip.video)

    shown = collections.defaultdict(list)
    for pair in pairs:
        for clip in (pair.observed, pair.future):
            from_s = begins_s(clip)
            span = max(clip.start_s, from_s), max(clip.end_s, from_s)
            shown[clip.video].append(span)
    num_labeled = sum(pair.label is not None for pair in pairs)
    footage_s = sum(
        end_s - start_s for clips in shown.values() for start_s, end_s in merge(clips)
    )
    return PairSummary(
        num_pairs=len(pairs),
        num_labeled=num_labeled,
        num_unlabeled=len(pairs) - num_labeled,
        num_videos=len(shown),
        num_padded=sum(
            p.observed.start_s < begins_s(p.observed) - SAME_S for p in pairs
        ),
        num_unseen=sum(p.observed.end_s < begins_s(p.observed) + SAME_S for p in pairs),
        footage_hours=footage_s / 3600,
    )


def merge(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the union of intervals as sorted intervals that do not touch."""
    merged = []
    for start_s, end_s in sorted(intervals):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end_s, merged[-1][1])
        else:
            merged.append((start_s, end_s))
    return merged


def _spread_by_class(segments: Sequence[Segment], labeled, draws):
    """Ranks positions so that every prefix holds the classes in their shares."""
    members = collections.defaultdict(list)
    # In an order of their own, so that the order of the annotations does not matter.
    for position in sorted(labeled, key=lambda p: dataclasses.astuple(segments[p])):
        members[segments[position].label].append((draws.random(), position))
    ranked = []
    for drawn in members.values():
        for rank, (draw, position) in enumerate(sorted(drawn)):
            # The first of each class comes before all else: none loses its last label.
            place = (rank + 0.5) / len(drawn) if rank else 0.0
            ranked.append((place, draw, position))
    return [position for _, _, position in sorted(ranked)]


def _fraction_end_s(index, segment, observed_fraction):
    """When the first frame after the observed ones begins."""
    if segment.video not in index.infos:
        raise ValueError(
            "observed_fraction counts frames, and the index does not know those of "
            f"{segment.video!r}. Fill Index.infos."
        )
    times_s = index.infos[segment.video].times_s
    # Frames need not be evenly spaced, so their times are counted, not computed.
    bounds_s = np.array([segment.start_s, segment.end_s]) - _SAME_FRAME_S
    first, end = np.searchsorted(times_s, bounds_s)
    num_observed = max(1, _round_half_up(observed_fraction, end - first))
    if num_observed >= end - first:
        return segment.end_s
    return float(times_s[first + num_observed])


def _round_half_up(factor, number):
    """Rounds the product of two decimals, free of binary error: 0.145 * 100 is 14.5."""
    product = math.prod(fractions.Fraction(str(float(x))) for x in (factor, number))
    return math.floor(product + fractions.Fraction(1, 2))
