"""Video files through PyAV: the exact time of every frame, and the frames wanted."""

import fractions
import itertools
import typing

import av
import numpy as np

from kd_keras.data import clocks, cut_off, damage, upright
from kd_keras.data.frame_times import median_spacing
from kd_keras.data.video_info import BadVideo, VideoInfo

# Packets in a row that may hold no picture of their own (hidden reference frames,
# placeholders of packed B-frames): they show the picture before them.
_MAX_PACKETS_WITHOUT_PICTURE = 2
# Twice those of 8K; a header that names more is damaged, and memory would end.
_MOST_PIXELS = 1 << 26
# No camera stands still for longer within one file: the clock is damaged.
_LONGEST_GAP_S = 24 * 3600.0


class _Packet(typing.NamedTuple):
    """What is kept of a packet that is shown: its times, and its place in the file."""

    pts: int | None
    dts: int | None
    is_key: bool
    byte: int | None


def probe_file(video, path):
    """Reads the packets of a file and decodes its first frame."""
    try:
        with _opened(path) as container:
            stream = _picture_stream(video, container)
            packets, ends_s, jumps_s = _read_packets(container, stream)
            _check_order(video, path, stream, packets)
            if not packets:
                raise BadVideo(video.name, f"{path} has no frames")
            remarks = _check_complete(video, path, container, stream, ends_s)
        with _opened(path) as container:
            stream = _picture_stream(video, container)
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
    _check_gaps(video, path, times_s)
    height, width = frame.height, round(frame.width * (pixel_aspect or 1))
    if not 0 < height * width <= _MOST_PIXELS:
        raise BadVideo(video.name, f"{path} has pictures of {width} x {height} pixels")
    if upright.swaps_sides(_display_matrix(video, frame)):
        height, width = width, height
    key_stamps = [p.pts for p in packets if p.is_key and p.pts is not None]
    return VideoInfo(
        times_s=times_s,
        duration_s=float(times_s[-1]) + spacing_s,
        height=height,
        width=width,
        stamps=stamps,
        by_position=by_position,
        key_frames=np.flatnonzero(np.isin(stamps, key_stamps)),
        packet_times=None if by_position or not counts else _packet_times(packets),
        remarks=remarks,
    )


def _check_gaps(video, path, times_s):
    late = np.flatnonzero(np.diff(times_s, prepend=0.0) > _LONGEST_GAP_S)
    if len(late):
        raise BadVideo(
            video.name,
            f"the clock of {path} jumps to {times_s[late[0]]:.0f} s at frame "
            f"{late[0]}: over {_LONGEST_GAP_S / 3600:.0f} h without a picture",
        )


def iterate_file(video, info, wanted, size):
    """Yields the frames at `wanted`, which ascend, in one pass."""
    done = 0
    # Some files cannot be sought, or land after the key frame: then from the start.
    for start in sorted({_seekable_key_frame(info, wanted[0]), 0}, reverse=True):
        try:
            for picture in _decode_from(start, video, info, wanted[done:], size):
                done += 1
                yield picture
            return
        except (BadVideo, av.error.FFmpegError) as error:
            if start:
                continue
            if isinstance(error, BadVideo):
                raise
            raise BadVideo(
                video.name, f"{video.path} cannot be decoded ({error})"
            ) from error


def _opened(path):
    # Titles may have any encoding, and are of no use here.
    return av.open(str(path), metadata_errors="replace")


def _picture_stream(video, container):
    """The first stream of moving pictures, to be decoded by one core."""
    for stream in container.streams.video:
        if not _is_cover(stream):
            if stream.codec_context is None:
                raise BadVideo(video.name, "its pictures have a codec nobody knows")
            stream.codec_context.thread_count = 1
            stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            return stream
    raise BadVideo(video.name, "the file has no video stream")


def _first_frame(container, stream):
    """The first frame that can be decoded, however damaged the file's start is."""
    for packet in container.demux(stream):
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
    others = [i for i in others if not _is_cover(container.streams[i])]
    if not others:
        return ()
    from_s = float((used.start_time or 0) * used.time_base - _start_s(container))
    return (
        f"it has {len(others) + 1} video streams; stream {used.index}, which starts at "
        f"{max(from_s, 0.0):.2f} s, is used alone",
    )


def _is_cover(stream):
    """Cover art is a picture, not a video."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _read_packets(container, stream):
    """The shown packets, when each stream's data ends, and where the clock jumps."""
    packets, numbers, ends_s = [], [], {}
    recordings = clocks.Recordings(container)
    for packet in container.demux():
        number = recordings.number_of(packet)
        time = packet.dts if packet.pts is None else packet.pts
        if packet.size and time is not None:
            end_s = float((time + (packet.duration or 0)) * packet.time_base)
            before_s = ends_s.get(packet.stream_index, end_s)
            ends_s[packet.stream_index] = max(end_s, before_s)
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
        return packets, ends_s, []
    stamps, jumps_s = clocks.join(
        packets, numbers, recordings.spans_s.values(), stream.time_base
    )
    joined = zip(packets, stamps, strict=True)
    return [p._replace(pts=s, dts=None) for p, s in joined], ends_s, jumps_s


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


def _check_order(video, path, stream, packets):
    """Refuses a clock that goes back and that nothing says how to follow."""
    decoded = np.array([p.dts for p in packets if p.dts is not None], np.int64)
    steps_s = np.diff(decoded) * float(stream.time_base)
    backwards = np.flatnonzero(steps_s < -clocks.DISORDER_S)
    if len(backwards):
        at_s = float((decoded[backwards[0]] - decoded[0]) * stream.time_base)
        raise BadVideo(
            video.name,
            f"the clock of {path} goes back by {-steps_s[backwards[0]]:.2f} s at "
            f"{at_s:.2f} s, as if recordings were joined there; cut it there, or write "
            "it anew with ffmpeg",
        )


def _check_complete(video, path, container, stream, ends_s):
    """Refuses a file that was cut off; returns remarks on one that lies or goes on."""
    if container.format.flags & av.format.Flags.ts_discont.value:
        # Such a file has no header that could name a duration.
        return ()
    found_s = max(ends_s.values(), default=0.0)
    if container.format.name == "avi":
        found_s = ends_s.get(stream.index, 0.0)
    reason = cut_off.find_cut(path, container, stream, found_s)
    if reason is not None:
        raise BadVideo(video.name, f"{path} is {reason}")
    start_s = max(float(_start_s(container)), 0.0)
    remarks = (
        cut_off.header_remark(container, stream, start_s, found_s),
        cut_off.joined_remark(path, container, found_s - start_s),
    )
    return tuple(remark for remark in remarks if remark)


def _frame_times(container, stream, packets, first_pts):
    """Times in the file, the decoder's name of each frame, whether that is a count."""
    presented = [packet.pts for packet in packets]
    # AVI keeps no presentation times: with B-frames the demuxer's are guesses.
    guessed = container.format.name == "avi" and stream.codec_context.has_b_frames
    if None not in presented and not guessed:
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
            # The average is the demuxer's own guess; the other knows the header.
            rate = stream.guessed_rate or stream.average_rate or stream.base_rate or 25
            return stamps / float(rate), stamps, by_position
        ticks = np.sort(np.array(decoded, np.int64))
    base = stream.time_base
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


def _seekable_key_frame(info, first):
    """The key frame before frame `first`; 0 is the start of the file."""
    if info.by_position:
        return 0
    before = np.searchsorted(info.key_frames, first, "right")
    return int(info.key_frames[before - 1]) if before else 0


def _decode_from(start, video, info, wanted, size):
    with _opened(video.path) as container:
        stream = _picture_stream(video, container)
        decoded = _numbered_frames(video, container, stream, info, start)
        end = [(len(info.times_s), None)]
        position, shown, picture = 0, (None, None), None
        for index, frame in itertools.chain(decoded, end):
            # Both ascend: what comes before this frame shows the one before it.
            while wanted[position] <= index:
                now = (index, frame) if wanted[position] == index else shown
                if picture is None or wanted[position] != wanted[position - 1]:
                    picture = _picture(video, info, now, wanted[position], size)
                yield picture
                position += 1
                if position == len(wanted):
                    return
            shown = index, frame


def _numbered_frames(video, container, stream, info, start):
    """Decoded frames with their positions in the video; None for what is damaged."""
    stream.codec_context.copy_opaque = True
    decoder = damage.Decoder(
        recovers=not info.by_position, trusts_packets=info.packet_times is None
    )
    packets = _packets_from(start, container, stream, info)
    if start:
        packets = _checked_start(video, packets, info.stamps[start])
    for count, (frame, is_whole) in enumerate(decoder.frames(packets)):
        shown = frame if is_whole else None
        if info.by_position:
            yield count, shown
        elif frame.pts is not None and frame.pts >= info.stamps[0]:
            yield int(np.searchsorted(info.stamps, frame.pts, "right")) - 1, shown


def _checked_start(video, packets, stamp):
    """The packets, if the first of them is not later than it should be."""
    for place, packet in enumerate(packets):
        if not place and (packet.pts is None or packet.pts > stamp):
            raise BadVideo(video.name, f"{video.path} cannot be sought")
        yield packet


def _packets_from(start, container, stream, info):
    """The packets from the key frame `start` on, or from one before it."""
    if info.packet_times is None:
        if start:
            container.seek(int(info.stamps[start]), stream=stream)
        yield from container.demux(stream)
        return
    number, byte = 0, None
    if start:
        # Only bytes lead to a place if times do not.
        number, byte = info.packet_times.key_before(info.stamps[start])
        container.seek(byte, unsupported_byte_offset=True)
    is_found = not number
    for packet in container.demux(stream):
        is_found = is_found or (packet.pos == byte and packet.is_keyframe)
        if not is_found:
            continue
        if packet.size:
            packet.pts = int(info.packet_times.stamps[number])
            number += 1
        yield packet


def _picture(video, info, shown, wanted, size):
    """The frame that is on screen, turned upright, at its size."""
    index, frame = shown
    if frame is None or wanted - index > _MAX_PACKETS_WITHOUT_PICTURE:
        raise BadVideo(
            video.name,
            f"frame {wanted} (at {info.times_s[wanted]:.3f} s) of {video.path} cannot "
            "be decoded",
        )
    width, height = size
    # Of a pixel that is shown, width by height.
    aspect = (info.width / width) / (info.height / height)
    matrix = _display_matrix(video, frame)
    if upright.swaps_sides(matrix):
        height, width = width, height
    shrinks = height <= frame.height and width <= frame.width
    picture = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        interpolation="AREA" if shrinks else "BILINEAR",
    ).to_ndarray()
    return upright.turn(picture, matrix, aspect)


def _display_matrix(video, frame):
    try:
        return upright.display_matrix(frame)
    except ValueError as error:
        raise BadVideo(video.name, f"{video.path} cannot be shown: {error}") from error
