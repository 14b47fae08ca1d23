"""The clock of a file whose recordings were joined: where it restarts, and by how much.

A file of MPEG-TS or MPEG-PS is a stream that may begin anew at any packet: recordings
are joined by writing one behind the other. A recording is taken to end where ffmpeg
sees its clock jump: where it goes back, or ahead by more than 10 s. The next one
continues when all streams of the one before have ended.
"""

import collections
import dataclasses
from collections.abc import Sequence

import av
import numpy as np

# What ffmpeg takes for a jump: its -dts_delta_threshold, and its tolerance of disorder.
LONGEST_LEAP_S = 10.0
DISORDER_S = 0.1
# MPEG's clocks have 33 bits: a demuxer takes some that go back for ones that overflow.
_WRAP = 2**33


@dataclasses.dataclass(frozen=True, eq=False)
class PacketTimes:
    """The time of every packet of a picture stream, if its own is not to be trusted.

    Attributes:
        stamps: Ticks, by number of the packet in the file.
        keys: Numbers of the packets that decoding can start at.
        key_bytes: Their places in the file.
    """

    stamps: np.ndarray
    keys: np.ndarray
    key_bytes: np.ndarray

    def key_before(self, stamp: int) -> tuple[int, int]:
        """Number and place of the last key packet up to a time; 0, 0 if none is."""
        before = np.flatnonzero(self.stamps[self.keys] <= stamp)
        if not len(before):
            return 0, 0
        return int(self.keys[before[-1]]), int(self.key_bytes[before[-1]])


class Recordings:
    """Counts the recordings of a file, as its packets come.

    Attributes:
        spans_s: By stream, when each of its recordings starts and ends, on the clock
            of the file.
    """

    def __init__(self, container):
        may_jump = container.format.flags & av.format.Flags.ts_discont.value
        self._may_jump = bool(may_jump)
        # By stream: the time of its last packet, and when the next is expected.
        self._expected_s = {}
        self.spans_s = collections.defaultdict(list)

    def number_of(self, packet) -> int:
        """The number, from 0, of the recording that a packet belongs to."""
        stream = packet.stream_index
        is_shown = packet.stream.type in ("video", "audio")
        if not self._may_jump or packet.dts is None or not is_shown:
            return max(len(self.spans_s[stream]) - 1, 0)
        base = packet.time_base
        time_s, shown_s, length_s = (
            ticks * base.numerator / base.denominator
            for ticks in (
                packet.dts,
                packet.dts if packet.pts is None else packet.pts,
                packet.duration or 0,
            )
        )
        spans_s = self.spans_s[stream]
        before_s, expected_s = self._expected_s.get(stream, (time_s, time_s))
        leaps = abs(time_s - expected_s) > LONGEST_LEAP_S
        if not spans_s or leaps or time_s + DISORDER_S < before_s:
            spans_s.append((shown_s, shown_s))
        if abs(shown_s - time_s) <= LONGEST_LEAP_S:
            start_s, end_s = spans_s[-1]
            spans_s[-1] = min(start_s, shown_s), max(end_s, shown_s + length_s)
        self._expected_s[stream] = time_s, time_s + length_s
        return len(spans_s) - 1


def join(
    packets, numbers: Sequence[int], spans_s, base
) -> tuple[list[int], list[tuple[float, float]]]:
    """Takes the jumps out of the times of a picture stream's packets.

    Args:
        packets: With `pts` and `dts` in ticks, in the order of the file.
        numbers: Of the recordings that they belong to.
        spans_s: What `Recordings` found of the streams that are to be waited for.
        base: Seconds of a tick.
    Returns:
        The presentation time of every packet, in ticks. When each recording but the
        first starts, and how far the clock jumps there, in seconds.
    """
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    ends = [*starts[1:], len(packets)]
    spans_s = [s for s in spans_s if len(s) == len(starts)]
    stamps, jumps_s, free, offset = [], [], None, 0
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        recording = _inside(packets[start:end], base)
        spans = [[round(s / base) for s in spans[place]] for spans in spans_s]
        first, last = min(recording), max(recording)
        if free is not None:
            before, offset = offset, free - min(first, *(s for s, _ in spans), first)
            jump = (before - offset + _WRAP // 2) % _WRAP - _WRAP // 2
            jumps_s.append((float((first + offset) * base), float(jump * base)))
        stamps += [stamp + offset for stamp in recording]
        free = offset + max(last + _spacing(recording), *(e for _, e in spans), last)
    return stamps, jumps_s


def _inside(recording, base):
    """The times of a recording's packets; those beyond a jump follow the others.

    A demuxer that finds no time in the last packet before a jump takes the next one's.
    """
    longest = round(LONGEST_LEAP_S / base)
    beyond = [abs(p.pts - p.dts) > longest for p in recording]
    times = [p.dts if b else p.pts for p, b in zip(recording, beyond, strict=True)]
    free = max(times)
    for place in np.flatnonzero(beyond):
        free += _spacing(times)
        times[place] = free
    return times


def _spacing(stamps):
    different = np.unique(stamps)
    return int(np.median(np.diff(different))) if len(different) > 1 else 1
