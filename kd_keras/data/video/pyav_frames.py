"""Decodes the wanted frames of video files through PyAV."""

import itertools

import av
import numpy as np

from kd_keras.data.video import containers, damage, orientation
from kd_keras.data.video.info import BadVideo

# Packets in a row that may hold no picture of their own (hidden reference frames,
# placeholders of packed B-frames): they show the picture before them.
_MAX_PACKETS_WITHOUT_PICTURE = 2


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


def display_matrix(video, frame):
    """`upright.display_matrix`; one that cannot be used is the video's fault."""
    try:
        return orientation.display_matrix(frame)
    except ValueError as error:
        raise BadVideo(video.name, f"{video.path} cannot be shown: {error}") from error


def _seekable_key_frame(info, first):
    """The key frame before frame `first`; 0 is the start of the file."""
    if info.by_position:
        return 0
    before = np.searchsorted(info.key_frames, first, "right")
    return int(info.key_frames[before - 1]) if before else 0


def _decode_from(start, video, info, wanted, size):
    with containers.opened(video.path) as container:
        stream = containers.picture_stream(video, container)
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
        packets = _checked_start(video, packets, info, start)
    for count, (frame, is_whole) in enumerate(decoder.frames(packets)):
        if start and not count and not frame.key_frame:
            # The container calls it one, the decoder knows better.
            raise BadVideo(video.name, f"{video.path} cannot be sought")
        shown = frame if is_whole else None
        if info.by_position:
            yield count, shown
        elif frame.pts is not None and frame.pts >= info.stamps[0]:
            yield int(np.searchsorted(info.stamps, frame.pts, "right")) - 1, shown


def _checked_start(video, packets, info, start):
    """The packets, if the first is what it was when they were read from the start."""
    first, stamp = next(packets, None), info.stamps[start]
    is_late = first is None or first.pts is None or first.pts > stamp
    if is_late or _is_elsewhere(first, info, stamp):
        raise BadVideo(video.name, f"{video.path} cannot be sought")
    yield first
    yield from packets


def _is_elsewhere(packet, info, stamp):
    """Whether a damaged index led to a packet that has the time of another."""
    places = info.key_bytes[info.stamps[info.key_frames] == stamp]
    return packet.pts == stamp and packet.pos is not None and packet.pos not in places


def _packets_from(start, container, stream, info):
    """The packets from the key frame `start` on, or from one before it."""
    if info.packet_times is None:
        if start:
            container.seek(int(info.stamps[start]), stream=stream)
        yield from containers.demuxed(container, stream)
        return
    number, byte = 0, None
    if start:
        # Only bytes lead to a place if times do not.
        number, byte = info.packet_times.key_before(info.stamps[start])
        container.seek(byte, unsupported_byte_offset=True)
    is_found = not number
    for packet in containers.demuxed(container, stream):
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
    return upright(video, frame, size, (info.width, info.height))


def shown_size(video, frame, pixel_aspect):
    """Height and width at which players show a decoded frame."""
    height, width = frame.height, round(frame.width * (pixel_aspect or 1))
    if not 0 < height * width <= containers.MOST_PIXELS:
        raise BadVideo(
            video.name, f"{video.path} has pictures of {width} x {height} pixels"
        )
    if orientation.swaps_sides(display_matrix(video, frame)):
        height, width = width, height
    return height, width


def upright(video, frame, size, whole_size):
    """A decoded frame at a size, turned upright; sizes are (width, height)."""
    width, height = size
    # Of a pixel that is shown, width by height.
    aspect = (whole_size[0] / width) / (whole_size[1] / height)
    matrix = display_matrix(video, frame)
    if orientation.swaps_sides(matrix):
        height, width = width, height
    shrinks = height <= frame.height and width <= frame.width
    picture = frame.reformat(
        width=width,
        height=height,
        format="rgb24",
        interpolation="AREA" if shrinks else "BILINEAR",
    ).to_ndarray()
    return orientation.turn(picture, matrix, aspect)
