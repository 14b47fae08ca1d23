"""Video files through PyAV: the exact time of every frame."""

import fractions
import typing

import av
import numpy as np

from kd_keras.data.video import (
    clock_faults,
    clocks,
    containers,
    truncation,
)
from kd_keras.data.video.frame_times import median_spacing
from kd_keras.data.video.info import BadVideo, VideoInfo
from kd_keras.data.video.pyav_frames import shown_size


class _Packet(typing.NamedTuple):
    """What is kept of a packet that is shown: its times, and its place in the file."""

    pts: int | None
    dts: int | None
    is_key: bool
    byte: int | None


class _End(typing.NamedTuple):
    """The bounds of when a stream's data ends.

    A packet may name the time until the next one in the file, which is another than
    the next that is shown. So the first bound counts no duration, the second counts
    them all.
    """

    earliest_s: float
    latest_s: float


def probe_file(video, path):
    """Reads the packets of a file and decodes its first frame."""
    _refuse(video, path, truncation.find_impossible_fragment(path))
    try:
        with containers.opened(path) as container:
            stream = containers.picture_stream(video, container)
            packets, ends, jumps_s = _read_packets(container, stream)
            _refuse(video, path, clock_faults.of_packets(packets, stream.time_base))
            if not packets:
                raise BadVideo(video.name, f"{path} has no frames")
            remarks = _check_complete(video, path, container, stream, ends)
        with containers.opened(path) as container:
            stream = containers.picture_stream(video, container)
            frame = _first_frame(container, stream)
            if frame is None:
                raise BadVideo(video.name, f"{path} has no frame that can be decoded")
            times = _frame_times(container, stream, packets, frame.pts)
            # A stream must not be asked once its container is closed.
            spacing_s = _spacing(times[0], stream)
            pixel_aspect = stream.sample_aspect_ratio
            remarks += _several_pictures(container, stream)
            remarks += _jumps(container, jumps_s)
            counts = jumps_s or container.format.name == "mpeg"
    except av.error.FFmpegError as error:
        raise BadVideo(video.name, f"{path} cannot be read ({error})") from error
    times_s, stamps, by_position = times
    _refuse(video, path, clock_faults.of_frames(times_s))
    height, width = shown_size(video, frame, pixel_aspect)
    key_frames, key_bytes = _keys(packets, stamps)
    return VideoInfo(
        times_s=times_s,
        duration_s=float(times_s[-1]) + spacing_s,
        height=height,
        width=width,
        stamps=stamps,
        by_position=by_position,
        key_frames=key_frames,
        key_bytes=key_bytes,
        packet_times=None if by_position or not counts else _packet_times(packets),
        remarks=remarks,
    )


def _refuse(video, path, fault):
    if fault is not None:
        raise BadVideo(video.name, f"{path} is {fault}")


def _first_frame(container, stream):
    """The first frame that can be decoded, however damaged the file's start is."""
    for packet in containers.demuxed(container, stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        if frames:
            return frames[0]
    return None


def _several_pictures(container, used):
    """Remarks on the streams of moving pictures beside the one that is used."""
    others = [s.index for s in container.streams.video if s.index != used.index]
    others = [i for i in others if not containers.is_cover(container.streams[i])]
    if not others:
        return ()
    from_s = float((used.start_time or 0) * used.time_base - _start_s(container))
    return (
        f"it has {len(others) + 1} video streams; stream {used.index}, which starts at "
        f"{max(from_s, 0.0):.2f} s, is used alone",
    )


def _read_packets(container, stream):
    """The shown packets, the `_End` of each stream, and where the clock jumps."""
    packets, numbers, ends = [], [], {}
    recordings = clocks.Recordings(container)
    for packet in containers.demuxed(container):
        number = recordings.number_of(packet)
        time = packet.dts if packet.pts is None else packet.pts
        if packet.size and time is not None:
            start_s = float(time * packet.time_base)
            end_s = float((time + (packet.duration or 0)) * packet.time_base)
            before = ends.get(packet.stream_index, _End(start_s, end_s))
            ends[packet.stream_index] = _End(
                max(start_s, before.earliest_s), max(end_s, before.latest_s)
            )
        # Packets that an edit list hides are needed to decode others, never shown.
        if (
            packet.size
            and packet.stream_index == stream.index
            and not packet.is_discard
        ):
            kept = packet.pts, packet.dts, packet.is_keyframe, packet.pos
            packets.append(_Packet(*kept))
            numbers.append(number)
    if len(set(numbers)) < 2 or any(None in (p.pts, p.dts) for p in packets):
        return packets, ends, []
    stamps, jumps_s = clocks.join(
        packets, numbers, recordings.spans_s.values(), stream.time_base
    )
    joined = zip(packets, stamps, strict=True)
    return [p._replace(pts=s, dts=None) for p, s in joined], ends, jumps_s


def _keys(packets, stamps):
    """Positions of the key frames, and where in the file their packets are."""
    places = {p.pts: p.byte for p in packets if p.is_key and p.pts is not None}
    key_frames = np.flatnonzero(np.isin(stamps, [*places]))
    key_bytes = [places[int(stamp)] for stamp in stamps[key_frames]]
    return key_frames, np.array([-1 if b is None else b for b in key_bytes], np.int64)


def _packet_times(packets):
    keys = [i for i, p in enumerate(packets) if p.is_key and p.byte is not None]
    return clocks.PacketTimes(
        stamps=np.array([p.pts for p in packets], np.int64),
        keys=np.array(keys, np.int64),
        key_bytes=np.array([packets[i].byte for i in keys], np.int64),
    )


def _jumps(container, jumps_s):
    """Remarks on the places at which the clock jumps."""
    start_s = float(_start_s(container))
    return tuple(
        f"its clock jumps by {jump_s:+.2f} s at {at_s - start_s:.2f} s, as if "
        "recordings were joined there; the time goes on without the jump"
        for at_s, jump_s in jumps_s
    )


def _check_complete(video, path, container, stream, ends):
    """Refuses a file that was cut off; returns remarks on one that lies or goes on."""
    if container.format.flags & av.format.Flags.ts_discont.value:
        # Such a file has no header that could name a duration.
        return ()
    if container.format.name == "avi":
        ends = {i: end for i, end in ends.items() if i == stream.index}
    earliest_s = max((end.earliest_s for end in ends.values()), default=0.0)
    found_s = max((end.latest_s for end in ends.values()), default=0.0)
    _refuse(video, path, truncation.find_cut(path, container, stream, found_s))
    start_s = max(float(_start_s(container)), 0.0)
    remarks = (
        truncation.header_remark(container, stream, start_s, earliest_s, found_s),
        truncation.joined_remark(path, container, found_s - start_s),
    )
    return tuple(remark for remark in remarks if remark)


def _frame_times(container, stream, packets, first_pts):
    """Times in the file, the decoder's name of each frame, whether that is a count."""
    presented = [packet.pts for packet in packets]
    if None not in presented and not containers.guesses_times(container, stream):
        stamps = np.unique(np.array(presented, np.int64))
        # A recording may start in the middle of a group of pictures: what comes
        # before its first key frame is never shown.
        if first_pts is not None:
            stamps = stamps[np.searchsorted(stamps, first_pts) :]
        ticks, by_position = stamps, False
    else:
        # Frames are counted as the decoder gives them, from the first key frame on.
        first = next((i for i, p in enumerate(packets) if p.is_key), 0)
        decoded = [packet.dts for packet in packets[first:]]
        stamps, by_position = np.arange(len(decoded)), True
        if None in decoded:
            return stamps / containers.rate_of_counted(stream), stamps, by_position
        ticks = np.sort(np.array(decoded, np.int64))
    base = stream.time_base
    late = 0
    # A stream alone, such as MPEG-2's, may have times and no start.
    if container.start_time is not None:
        late = max(int(ticks[0]) - _start_s(container) / base, 0)
    # One multiplication and one division: k * 512 / 15360 is k / 30 to the last bit.
    ticks = (ticks - ticks[0]) + float(late)
    return ticks * float(base.numerator) / base.denominator, stamps, by_position


def _start_s(container):
    """The start of the file's earliest stream, which players show as 0."""
    starts_s = [
        stream.start_time * stream.time_base
        for stream in container.streams
        if stream.start_time is not None
    ]
    # The container rounds to microseconds, and knows which streams count.
    rounded_s = fractions.Fraction(container.start_time or 0, av.time_base)
    return min(starts_s, key=lambda s: abs(s - rounded_s), default=rounded_s)


def _spacing(times_s, stream):
    rate = stream.average_rate or stream.guessed_rate or 25
    return median_spacing(times_s) or 1 / float(rate)
