"""Tells decoded frames that are whole from those that damage in the file reached.

A decoder conceals what it cannot read, and every frame that refers to such a picture
shows the same mistake, up to the next key frame. Frames that are shown before a damaged
one may have been decoded after it, and refer to it too. Not all damage can be found:
some of it decodes to a picture as any other.
"""

import collections
import math
import typing

import av

# The most frames that are kept until what they may refer to has come.
_MOST_WAITING = 16


class _Sent(typing.NamedTuple):
    """A packet that was given to the decoder; packets are numbered from 0.

    Attributes:
        key: Number of the last key packet up to it.
        key_before: Number of the key packet before that one.
        key_pts: When the frame of `key` is shown.
        is_leading: Whether it is shown before that frame: it may refer to what came
            before the key packet, and only packets of its kind refer to it.
        latest: The latest time at which a packet before it is shown.
    """

    key: int = 0
    key_before: int = 0
    key_pts: float = -math.inf
    is_leading: bool = False
    latest: float = -math.inf


class Decoder:
    """Decodes the packets of a stream, and judges the frames.

    Args:
        recovers: Whether a key frame ends damage. It does not if frames are counted: a
            frame that was lost shifts all that follow.
        trusts_packets: Whether the packets that the demuxer marks are damaged. It also
            marks packets behind which another recording was joined.
    """

    def __init__(self, recovers: bool, trusts_packets: bool):
        self._recovers, self._trusts_packets = recovers, trusts_packets
        self._sent, self._seen = [], set()
        self._latest = -math.inf
        # By number of the key packet, the first packet that is damaged, among those
        # that lead its frame and the others.
        self._leading, self._damaged = {}, {}

    def frames(self, packets):
        """Yields (frame, whether it is whole) in the order in which they are shown.

        Args:
            packets: Of a stream whose codec context has `copy_opaque` set.
        """
        waiting = collections.deque()
        for packet in packets:
            for frame in self._decode(packet):
                number = self._number(frame)
                if frame.is_corrupt:
                    self._note_damage(number)
                self._seen.add(number)
                waiting.append((frame, number))
                # Damage of a frame that is shown later may reach one shown before.
                while waiting and (
                    self._is_settled(waiting[0][1], _time(frame))
                    or len(waiting) > _MOST_WAITING
                ):
                    yield self._judged(*waiting.popleft())
        for frame, number in waiting:
            yield self._judged(frame, number)

    def _is_settled(self, number, now):
        """Whether all that a frame may refer to has come up to a time."""
        sent = self._sent[number]
        return sent.latest <= now and sent.key in self._seen

    def _decode(self, packet):
        if packet.size:
            number = len(self._sent)
            # PyAV forgets an object when the first packet that has it is gone, and
            # small numbers are one object to all.
            packet.opaque = (number,)
            self._note_sent(packet)
            if packet.is_corrupt and self._trusts_packets:
                self._note_damage(number)
        try:
            return packet.decode()
        except av.error.FFmpegError:
            self._note_damage(len(self._sent) - 1)
            return []

    def _number(self, frame):
        """Of the packet that a frame was decoded from."""
        return len(self._sent) - 1 if frame.opaque is None else frame.opaque[0]

    def _note_sent(self, packet):
        before, shown = self._sent[-1] if self._sent else _Sent(), _time(packet)
        if packet.is_keyframe:
            sent = _Sent(len(self._sent), before.key, shown)
        else:
            sent = before._replace(is_leading=shown < before.key_pts)
        self._sent.append(sent._replace(latest=self._latest))
        self._latest = max(self._latest, shown)

    def _note_damage(self, number):
        if self._sent:
            sent = self._sent[number]
            first = self._leading if sent.is_leading else self._damaged
            first[sent.key] = min(number, first.get(sent.key, number))

    def _judged(self, frame, number):
        if not self._recovers:
            return frame, not (self._damaged or self._leading)
        sent = self._sent[number]
        first = self._damaged.get(sent.key, math.inf)
        if not sent.is_leading:
            return frame, number < first
        return frame, (
            first > sent.key
            and sent.key_before not in self._damaged
            and number < self._leading.get(sent.key, math.inf)
        )


def _time(picture):
    return -math.inf if picture.pts is None else picture.pts
