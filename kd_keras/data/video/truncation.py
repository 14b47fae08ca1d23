"""Tells a file that was cut off from one whose header lies about its duration.

A download that stopped or a full disk leaves a file whose own parts reach beyond its
end. A header that names another duration than the frames have, in a file that is whole,
is a mistake of the program that wrote it.
"""

import re

import av

_SECONDS, _FRACTION = 0.25, 0.02


def find_cut(path, container, stream, found_s: float) -> str | None:
    """Returns why a file must have been cut off, or None if it is whole.

    Args:
        container: Read to its end.
        stream: Of the pictures.
        found_s: When the data of any stream ends, on the file's clock.
    """
    size = path.stat().st_size
    name = container.format.name
    if "mp4" in name:
        # Its index lists every frame with its place; durations there may be wrong.
        promised = max((e.pos + e.size for e in stream.index_entries), default=0)
        fragments = [box for box in _boxes(path, size) if box[0] == b"moof"]
        last_end = max((end for _, end in _boxes(path, size)), default=0)
        promised = max(promised, last_end if fragments else 0)
        reason = f"cut off: {size} bytes of at least {promised}"
        return reason if promised > size else None
    promised_s = promised_duration_s(container, stream)
    if not _is_less(found_s, promised_s) or _is_whole(path, size, name):
        return None
    return (
        f"cut off or damaged: {found_s:.2f} s can be read of the {promised_s:.2f} s "
        "that its header names"
    )


def find_impossible_fragment(path) -> str | None:
    """Returns what is wrong with a fragment of an MP4 that has more frames than bytes.

    A demuxer believes the number, and takes gigabytes and minutes for them.
    """
    size, start = path.stat().st_size, 0
    with path.open("rb") as file:
        for kind, end in _boxes(path, size):
            if kind == b"moof":
                file.seek(start)
                # The boxes in it are not walked: their sizes may be damaged, too.
                for frames in _fragment_counts(file.read(end - start)):
                    if frames > size:
                        return (
                            f"damaged: a fragment of {size} bytes has {frames} frames"
                        )
            start = end
    return None


def header_remark(
    container, stream, start_s: float, earliest_s: float, found_s: float
) -> str | None:
    """Returns a sentence about a header that names another duration than there is.

    Args:
        start_s: When the data of the first stream starts, on the file's clock.
        earliest_s: When the last packet begins.
        found_s: When the data of the last stream ends, by the durations of packets.
    """
    promised_s = promised_duration_s(container, stream)
    # Some containers count from the start of the data, others from the clock's zero.
    right = [
        not _is_less(found_s - zero_s, promised_s)
        and not _is_less(promised_s, earliest_s - zero_s)
        for zero_s in (0, start_s)
    ]
    if not promised_s or any(right):
        return None
    return (
        f"its header names {promised_s:.2f} s, and what it holds ends at "
        f"{found_s - start_s:.2f} s"
    )


def joined_remark(path, container, ends_s: float) -> str | None:
    """Returns a sentence about recordings behind the only one that can be read."""
    if "mp4" not in container.format.name:
        return None
    boxes = _boxes(path, path.stat().st_size)
    if [kind for kind, _ in boxes].count(b"ftyp") < 2:
        return None
    return (
        f"another recording was joined to it at {ends_s:.2f} s, and no player shows "
        "that one: split the file, or join recordings with ffmpeg's concat"
    )


def promised_duration_s(container, stream) -> float:
    """The duration that the header names, on the file's clock; 0 if it names none."""
    if container.format.name == "avi" and stream.average_rate:
        # The duration of a cut AVI is scaled down by the demuxer, the count is not.
        return float(stream.frames / stream.average_rate)
    start_s = min(container.start_time or 0, 0) / av.time_base
    return (container.duration or 0) / av.time_base + start_s


def _is_less(one_s, other_s):
    return one_s < other_s - max(_SECONDS, _FRACTION * other_s)


def _is_whole(path, size, name):
    if "matroska" in name:
        end = _segment_end(path)
        return end is not None and end <= size
    if name == "avi":
        return 0 < max(_riff_ends(path, size), default=0) <= size
    return name == "flv" and _ends_with_a_tag(path, size)


def _boxes(path, size):
    """Yields the kind and the end of every outermost box of an MP4."""
    with path.open("rb") as file:
        start = 0
        while start + 8 <= size:
            file.seek(start)
            head = file.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            elif length == 0:
                length = size - start
            if length < 8 or not kind.isalnum():
                return
            start += length
            yield kind, start


def _fragment_counts(content):
    """Yields how many frames each run of a fragment says that it has."""
    for found in re.finditer(b"(.{4})trun", content, re.S):
        # A size of 1 says that 8 bytes with the size follow.
        start = found.end() + (12 if found[1] == b"\0\0\0\1" else 4)
        yield int.from_bytes(content[start : start + 4], "big")


def _riff_ends(path, size):
    """Yields the end of every outermost chunk of an AVI."""
    with path.open("rb") as file:
        start = 0
        while start + 12 <= size:
            file.seek(start)
            head = file.read(12)
            if head[:4] != b"RIFF":
                return
            start += 8 + int.from_bytes(head[4:8], "little")
            yield start


def _segment_end(path):
    """Where the segment of a Matroska file is to end; None if it does not say."""
    with path.open("rb") as file:
        file.seek(4)
        length = _ebml_size(file)
        if length is None:
            return None
        file.seek(length, 1)
        if file.read(4) != b"\x18\x53\x80\x67":
            return None
        length = _ebml_size(file)
        return None if length is None else file.tell() + length


def _ebml_size(file):
    """A number whose first byte says by leading zeros how many bytes it has."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    count = 9 - first[0].bit_length()
    number = int.from_bytes(first + file.read(count - 1), "big")
    number &= (1 << 7 * count) - 1
    # All ones stand for a size that was not known when writing began.
    return None if number == (1 << 7 * count) - 1 else number


def _ends_with_a_tag(path, size):
    """Whether the last bytes of an FLV are the length of its last tag."""
    with path.open("rb") as file:
        file.seek(max(size - 4, 0))
        length = int.from_bytes(file.read(4), "big")
        if not 11 <= length <= size - 4:
            return False
        file.seek(size - 4 - length)
        head = file.read(4)
        return int.from_bytes(head[1:4], "big") + 11 == length
