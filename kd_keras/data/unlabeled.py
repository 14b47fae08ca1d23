"""Cuts pairs without a label from training videos: by rule, number and seed."""

import collections
import dataclasses
import itertools
import math
import random
import statistics
from collections.abc import Sequence

from kd_keras.data.pairs import SAME_S, Timing, merge
from kd_keras.data.segments import TRAIN, Clip, Index, Pair

GAPS, FUTURE_IN_GAP, ANYWHERE = "gaps", "future_in_gap", "anywhere"
RULES = (GAPS, FUTURE_IN_GAP, ANYWHERE)

# Windows that start closer together than this show the same frames.
_SHORTEST_STRIDE_S = 1 / 240


def unlabeled_pairs(
    index: Index,
    timing: Timing,
    *,
    rule: str | None = FUTURE_IN_GAP,
    count: int | None = None,
    seed: int = 0,
) -> list[Pair]:
    """Returns pairs without a label, from the footage of training videos alone.

    First those at training segments that have no label (withheld, or known to have
    none), cut as `labeled_pairs` cuts them. A segment known to have none that is longer
    than every action is footage to search, not an action, and gives no such pair. Nor
    does one that ends before the video's first frame, or of which a clip reaches into a
    long gap between two frames (`VideoInfo.blanks_s`).

    Then, unless the timing is by fraction, windows of footage. A gap is footage that no
    labeled training segment covers. Where future clips may lie is the rule's:

        gaps: Both clips, and what lies between them, inside one gap (the paper's
            EPIC-KITCHENS pairs).
        future_in_gap: The future clip inside a gap. The observed clip may show labeled
            footage, as the teacher is asked about the future clip alone.
        anywhere: Both clips anywhere in the video; their labels are not looked at.

    No window reaches before the video's first frame, or into a long gap between two
    frames. Without `count`, future clips of windows lie on a regular grid that begins
    at the start of each gap, or video, and do not overlap. With it, windows are drawn
    that share nothing, as long as there are enough of them; beyond that all are taken
    and the rest drawn from the grid, then from grids of half the stride, a quarter and
    so on: windows overlap as little and as evenly as they can.

    Args:
        timing: If it has no `future_s`, future clips of windows last as long as the
            median training action, labeled or withheld.
        rule: One of `RULES`; None for the segments without a label alone.
        count: Draw so many of all candidates; None for all of the grid.
        seed: Of the draw. A larger count with the same seed contains a smaller one.
    """
    if rule is not None and rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}. Got {rule!r}.")
    if count is not None and count < 0:
        raise ValueError(f"count must be at least 0 or None. Got {count}.")
    segments = _training_segments(index)
    longest_s = max(_actions_s(segments), default=math.inf)
    pairs = [
        timing.pair_at(index, segment, None)
        for segment in segments
        if segment.label is None and _duration_s(segment) <= longest_s + SAME_S
    ]
    pairs = [pair for pair in pairs if _is_recorded(index, pair)]
    refinements = iter(())
    if rule is not None and timing.observed_fraction is None:
        timing = _window_timing(timing, segments)
        ranges = _start_ranges(index, segments, timing, rule)
        refinements = _refinements(ranges, timing, disjoint_first=count is not None)
    candidates = [*pairs, *next(refinements, [])]
    if count is not None:
        candidates = _draw(candidates, refinements, count, seed)
    return [c if isinstance(c, Pair) else _window(timing, *c) for c in candidates]


@dataclasses.dataclass(frozen=True)
class Footage:
    """How much unlabeled footage there is, and how much of it pairs share.

    Attributes:
        video_hours: Of all training videos.
        gap_hours: Of the footage that no labeled training segment covers.
        num_gaps: Number of gaps.
        median_gap_s: Their median duration in seconds; 0 if there is none.
        num_disjoint: Windows that fit the rule and share nothing, not even what lies
            between two clips; 0 if the pairs have no windows.
        num_pairs: Of the unlabeled pairs.
        num_sharing: How many of them show footage that another one shows too.
        pair_hours: Of all their clips together.
        shown_hours: The same, but footage that several clips show counts once.
    """

    video_hours: float
    gap_hours: float
    num_gaps: int
    median_gap_s: float
    num_disjoint: int
    num_pairs: int
    num_sharing: int
    pair_hours: float
    shown_hours: float

    def __str__(self):
        sharing = self.num_sharing / max(1, self.num_pairs)
        times = self.pair_hours / self.shown_hours if self.shown_hours else 0.0
        return (
            f"Unlabeled: {self.video_hours:.2f} h of training video, "
            f"{self.gap_hours:.2f} h of it in {self.num_gaps} gaps between labeled "
            f"segments (median {self.median_gap_s:.2f} s); {self.num_disjoint} windows "
            f"fit without overlap. The {self.num_pairs} pairs show "
            f"{self.shown_hours:.2f} h, {times:.2f} times on average; {sharing:.0%} of "
            "them share footage with another."
        )


def describe_footage(
    index: Index,
    pairs: Sequence[Pair],
    timing: Timing,
    *,
    rule: str | None = FUTURE_IN_GAP,
) -> Footage:
    """Measures the footage, and the unlabeled pairs that were made of it."""
    segments = _training_segments(index)
    gaps_s = [
        end_s - start_s
        for intervals in _allowed_intervals(index, segments, GAPS).values()
        for start_s, end_s in intervals
    ]
    num_disjoint = 0
    if rule is not None and timing.observed_fraction is None:
        timing = _window_timing(timing, segments)
        ranges = _start_ranges(index, segments, timing, rule)
        num_disjoint = sum(1 for _ in _disjoint(ranges, timing))
    clips = [clip for pair in pairs for clip in (pair.observed, pair.future)]
    shown = collections.defaultdict(list)
    for number, clip in enumerate(clips):
        span = max(clip.start_s, 0.0), max(clip.end_s, 0.0)
        shown[clip.video].append((*span, number // 2))
    return Footage(
        video_hours=_hours(index.durations_s[name] for name in _training_videos(index)),
        gap_hours=_hours(gaps_s),
        num_gaps=len(gaps_s),
        median_gap_s=statistics.median(gaps_s) if gaps_s else 0.0,
        num_disjoint=num_disjoint,
        num_pairs=len(pairs),
        num_sharing=len(set().union(*map(_sharing, shown.values()))),
        pair_hours=_hours(e - s for spans in shown.values() for s, e, _ in spans),
        shown_hours=_hours(
            end_s - start_s
            for spans in shown.values()
            for start_s, end_s in merge(span[:2] for span in spans)
        ),
    )


def _is_recorded(index, pair):
    """Whether some of the future clip was recorded, and neither clip has a hole.

    A clip that begins before the first frame is padded, as it is for labeled pairs.
    """
    video = pair.future.video
    holes_s = [blank for blank in index.blanks_s(video) if blank[0] > 0]
    return pair.future.end_s > index.begins_s(video) + SAME_S and not any(
        clip.start_s < end_s - SAME_S and clip.end_s > start_s + SAME_S
        for start_s, end_s in holes_s
        for clip in (pair.observed, pair.future)
    )


def _training_videos(index):
    return [name for name, video in index.videos.items() if video.part == TRAIN]


def _training_segments(index):
    return [s for s in index.segments if index.videos[s.video].part == TRAIN]


def _actions_s(segments):
    return [_duration_s(s) for s in segments if s.label is not None or s.withheld]


def _window_timing(timing, segments):
    """The timing with a length of the future clip, which windows need."""
    if timing.future_s is not None:
        return timing
    actions_s = _actions_s(segments)
    if not actions_s:
        raise ValueError(
            "future_s=None takes the median duration of the training actions, and "
            "there are none. Give future_s in seconds."
        )
    return dataclasses.replace(timing, future_s=statistics.median(actions_s))


@dataclasses.dataclass(frozen=True)
class _StartRange:
    """Where one space lets future clips start: [first_s, last_s]."""

    video: str
    first_s: float
    last_s: float
    end_s: float


def _start_ranges(index, segments, timing, rule):
    before_s = timing.lead_time_s + timing.observed_s
    ranges = []
    for name, intervals in _allowed_intervals(index, segments, rule).items():
        blank_ends_s = [0.0, *(end_s for _, end_s in index.blanks_s(name))]
        for start_s, end_s in intervals:
            shown_from_s = max(s for s in blank_ends_s if s <= start_s)
            first_s = shown_from_s if rule == FUTURE_IN_GAP else start_s
            first_s = max(first_s + before_s, start_s)
            last_s = end_s - timing.future_s
            if first_s <= last_s + SAME_S:
                ranges.append(_StartRange(name, first_s, last_s, end_s))
    return ranges


def _allowed_intervals(index, segments, rule):
    """The intervals of each training video in which a rule lets clips lie."""
    covered = {name: [*index.blanks_s(name)] for name in _training_videos(index)}
    if rule != ANYWHERE:
        for segment in segments:
            if segment.label is not None:
                covered[segment.video].append((segment.start_s, segment.end_s))
    return {
        name: list(_gaps(covered[name], index.durations_s[name]))
        for name in _training_videos(index)
    }


def _gaps(intervals, duration_s):
    """Yields what the intervals leave of [0, duration_s)."""
    gap_start_s = 0.0
    for start_s, end_s in merge(intervals):
        if start_s > gap_start_s:
            yield gap_start_s, start_s
        gap_start_s = end_s
    if duration_s > gap_start_s:
        yield gap_start_s, duration_s


def _refinements(ranges, timing, disjoint_first):
    """Yields lists of (where, start): each has what those before it do not."""
    seen = set()

    def new(starts):
        added = []
        for where, start_s in starts:
            key = where.video, round(start_s / SAME_S)
            if key not in seen:
                seen.add(key)
                added.append((where, start_s))
        return added

    if not ranges:
        return
    if disjoint_first:
        yield new(_disjoint(ranges, timing))
    stride_s = timing.future_s
    yield new(_grid(ranges, stride_s))
    while (stride_s := stride_s / 2) >= _SHORTEST_STRIDE_S:
        yield new(_grid(ranges, stride_s))


def _grid(ranges, stride_s):
    for where in ranges:
        num_steps = math.floor((where.last_s - where.first_s + SAME_S) / stride_s)
        for step in range(num_steps + 1):
            yield where, where.first_s + step * stride_s


def _disjoint(ranges, timing):
    """Yields windows from the left: the one that ends first leaves the most room."""
    before_s = timing.lead_time_s + timing.observed_s
    video, free_s = None, 0.0
    for where in ranges:
        if where.video != video:
            video, free_s = where.video, 0.0
        first_s = max(where.first_s, free_s + before_s)
        for _, start_s in _grid(
            [dataclasses.replace(where, first_s=first_s)], before_s + timing.future_s
        ):
            yield where, start_s
            free_s = start_s + timing.future_s


def _window(timing, where, start_s):
    future = Clip(where.video, start_s, min(start_s + timing.future_s, where.end_s))
    return Pair(timing.observed_before(where.video, start_s), future, None)


def _draw(candidates, refinements, count, seed):
    """Draws from the candidates and, when all are taken, from each refinement."""
    # Seeded random() is the same in every version of Python; sample() may change.
    draws = random.Random(seed)
    drawn = []
    for refinement in itertools.chain([candidates], refinements):
        ranked = sorted((draws.random(), place) for place in range(len(refinement)))
        places = sorted(place for _, place in ranked[: count - len(drawn)])
        drawn += [refinement[place] for place in places]
        if len(drawn) == count:
            return drawn
    raise ValueError(
        f"count={count} unlabeled pairs were asked for, and there are {len(drawn)}, "
        "however much windows overlap. Lower count, or choose another rule."
    )


def _sharing(spans):
    """Numbers of the pairs that show footage of a video which another pair shows."""
    of_pairs = collections.defaultdict(list)
    for start_s, end_s, number in spans:
        if end_s > start_s:
            of_pairs[number].append((start_s, end_s))
    # The clips of one pair overlap if its timing is by fraction.
    spans = sorted(
        (*span, number) for number, own in of_pairs.items() for span in merge(own)
    )
    sharing, last_end_s, last_number = set(), -math.inf, None
    for start_s, end_s, number in spans:
        if start_s < last_end_s - SAME_S:
            sharing |= {number, last_number}
        if end_s > last_end_s:
            last_end_s, last_number = end_s, number
    return sharing


def _hours(seconds):
    return sum(seconds) / 3600


def _duration_s(segment):
    return segment.end_s - segment.start_s
