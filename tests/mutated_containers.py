"""Changes to the structure of recordings: boxes, elements, chunks, packets, times."""

import struct

from tests import mutations

_TS_BYTES = 188
# Boxes that hold others, and those that say where and when frames are.
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf")
_TABLES = (
    *(b"stts", b"ctts", b"elst", b"mdhd", b"mvhd", b"tkhd", b"stss", b"stsz", b"stsc"),
    *(b"stco", b"trun", b"tfdt", b"avc1", b"avcC", b"hdlr"),
)
# EBML: Segment, Cluster, Tracks, TrackEntry, Video, BlockGroup, Info, SeekHead, Cues.
_MASTERS = (
    *(0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE, 0xE0, 0xA0, 0x1549A966, 0x114D9B74),
    0x1C53BB6B,
)


def change(content, suffix, draws):
    """Returns a recording after one change of its structure."""
    changes = {
        ".mp4": _change_boxes,
        ".mov": _change_boxes,
        ".mkv": _change_elements,
        ".webm": _change_elements,
        ".ts": _change_packets,
        ".avi": _change_chunks,
    }
    return changes.get(suffix, mutations.change_bytes)(content, draws)


def _change_boxes(content, draws):
    boxes = list(_boxes(content, 0, len(content)))
    if not boxes:
        return mutations.change_bytes(content, draws)
    tables = [box for box in boxes if box[0] in _TABLES]
    _, start, end = draws.choice(tables if tables and draws.random() < 0.7 else boxes)
    kind = draws.choice(("size", "number", "number", "number", "remove", "double"))
    if kind == "size":
        return mutations.set_number(content, draws, start, 4)
    if kind == "number" and end - start >= 12:
        place = start + 8 + 4 * draws.randrange((end - start - 8) // 4)
        return mutations.set_number(content, draws, place, 4)
    return _remove_or_double(content, draws, start, end)


def _boxes(content, start, end):
    """Yields the kind, the start and the end of every box."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", content, start)
        if size < 8 or start + size > end:
            return
        yield kind, start, start + size
        if kind in _PARENTS:
            yield from _boxes(content, start + 8, start + size)
        start += size


def _change_elements(content, draws):
    elements = list(_elements(content, 0, len(content)))
    if not elements:
        return mutations.change_bytes(content, draws)
    start, body, end = draws.choice(elements)
    kind = draws.choice(("size", "value", "value", "remove", "double"))
    if kind == "size":
        return mutations.set_number(content, draws, body - 1, 1)
    if kind == "value" and body < end:
        # Of a block: its track, then its time.
        place = body + draws.randrange(min(8, end - body))
        return mutations.set_number(content, draws, place, draws.choice((1, 2)))
    return _remove_or_double(content, draws, start, end)


def _elements(content, start, end):
    """Yields the start, the start of the value and the end of every element."""
    while start + 2 <= end:
        number, body = _variable_number(content, start, keeps_mark=True)
        if number is None or body >= end:
            return
        size, body = _variable_number(content, body, keeps_mark=False)
        if size is None:
            return
        last = min(body + size, end)
        yield start, body, last
        if number in _MASTERS:
            yield from _elements(content, body, last)
        start = last


def _variable_number(content, start, keeps_mark):
    first = content[start]
    width = 9 - first.bit_length()
    if width > 8 or start + width > len(content):
        return None, start
    number = int.from_bytes(content[start : start + width], "big")
    return number if keeps_mark else number & ((1 << (7 * width)) - 1), start + width


def _change_packets(content, draws):
    """Packets of MPEG-TS are lost, doubled and swapped; clocks jump."""
    packets = [content[k : k + _TS_BYTES] for k in range(0, len(content), _TS_BYTES)]
    if not packets:
        return content
    number = draws.randrange(len(packets))
    kind = draws.choice(("lose", "double", "swap", "time", "time", "clock", "counter"))
    if kind == "lose":
        del packets[number : number + draws.choice((1, 1, 5))]
    elif kind == "double":
        packets.insert(number, packets[number])
    elif kind == "swap":
        other = draws.randrange(len(packets))
        packets[number], packets[other] = packets[other], packets[number]
    elif kind == "counter":
        packets[number] = mutations.set_number(packets[number], draws, 3, 1)
    else:
        starts = [k for k, p in enumerate(packets) if b"\0\0\1\xe0" in p]
        number = draws.choice(starts or [number])
        place = max(packets[number].find(b"\0\0\1\xe0"), 0)
        # The presentation time of a picture's packet; or the program's clock.
        place = place + 9 if kind == "time" else 6
        width = draws.choice((1, 1, 2, 4))
        packets[number] = mutations.set_number(packets[number], draws, place, width)
    return b"".join(packets)


def _change_chunks(content, draws):
    chunks = list(_chunks(content, 12, len(content)))
    if not chunks:
        return mutations.change_bytes(content, draws)
    _, start, end = draws.choice(chunks)
    what = draws.choice(("size", "number", "number", "remove", "double"))
    if what == "size":
        return mutations.set_number(content, draws, start + 4, 4)
    if what == "number" and end - start >= 12:
        place = start + 8 + 4 * draws.randrange(min(16, (end - start - 8) // 4))
        return mutations.set_number(content, draws, place, 4)
    return _remove_or_double(content, draws, start, end)


def _chunks(content, start, end):
    while start + 8 <= end:
        kind, size = struct.unpack_from("<4sI", content, start)
        last = min(start + 8 + size + size % 2, end)
        yield kind, start, last
        if kind == b"LIST":
            yield from _chunks(content, start + 12, last)
        start = last


def _remove_or_double(content, draws, start, end):
    if draws.random() < 0.5:
        return content[:start] + content[end:]
    return content[:end] + content[start:]
