"""Changes to bytes and texts, as broken disks, cut downloads and editors make them."""

# Sizes and counts at which arithmetic goes wrong.
_NUMBERS = (0, 1, 2, 7, 8, 255, 256, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def change_bytes(content, draws):
    """Returns the bytes after one change."""
    return draws.choice(
        (flip, flip, cut, zero, double, remove, swap, insert, set_number)
    )(content, draws)


def flip(content, draws):
    """A few bytes get other values."""
    changed = bytearray(content)
    for _ in range(draws.choice((1, 1, 2, 8, 32))):
        if changed:
            changed[draws.randrange(len(changed))] ^= 1 << draws.randrange(8)
    return bytes(changed)


def cut(content, draws):
    """The end is missing."""
    return content[: draws.randrange(len(content) + 1)]


def zero(content, draws):
    """A block is zeros."""
    start, end = _block(content, draws)
    return content[:start] + bytes(end - start) + content[end:]


def double(content, draws):
    """A block is there twice."""
    start, end = _block(content, draws)
    return content[:end] + content[start:]


def remove(content, draws):
    """A block is gone."""
    start, end = _block(content, draws)
    return content[:start] + content[end:]


def swap(content, draws):
    """Two blocks have changed places."""
    start, end = _block(content, draws)
    length = min(end - start, len(content) - end)
    one, other = content[start : start + length], content[end : end + length]
    between = content[start + length : end]
    return content[:start] + other + between + one + content[end + length :]


def insert(content, draws):
    """Something else is in between."""
    place = draws.randrange(len(content) + 1)
    return (
        content[:place] + draws.randbytes(draws.choice((1, 4, 188))) + content[place:]
    )


def set_number(content, draws, place=None, width=None):
    """A number of some bytes, here or anywhere, has a strange value."""
    width = draws.choice((1, 2, 4, 8)) if width is None else width
    if place is None:
        place = draws.randrange(max(1, len(content) - width))
    order = draws.choice(("big", "little"))
    number = (draws.choice(_NUMBERS) % 256**width).to_bytes(width, order)
    return content[:place] + number + content[place + width :]


def change_text(text, draws, values):
    """Returns the UTF-8 text after one change of a character, a value or a line.

    Args:
        values: What may come in.
    """
    lines = text.splitlines(keepends=True) or [""]
    number = draws.randrange(len(lines))
    line = lines[number]
    place = draws.randrange(len(line) + 1)
    value = draws.choice(values)
    kind = draws.choice(
        ("insert", "insert", "overwrite", "drop", "double", "cut", "swap")
    )
    if kind == "insert":
        lines[number] = line[:place] + value + line[place:]
    elif kind == "overwrite":
        separators = [k for k, c in enumerate(line) if c in ",="]
        start = draws.choice([-1, *separators]) + 1
        end = min([k for k in separators if k >= start], default=len(line.rstrip()))
        lines[number] = line[:start] + value + line[end:]
    elif kind == "drop":
        lines[number] = line[:place] + line[place + draws.choice((1, 1, 5, 99)) :]
    elif kind == "double":
        lines[number] = line * draws.choice((2, 2, 3))
    elif kind == "cut":
        return "".join(lines[:number]) + line[:place]
    else:
        other = draws.randrange(len(lines))
        lines[number], lines[other] = lines[other], line
    return "".join(lines)


def encode_text(text, draws):
    """Returns the text in the encoding that some editor writes."""
    encoding = draws.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-16", "latin-1"))
    return text.encode(encoding, errors="replace")


def _block(content, draws):
    length = draws.choice((1, 4, 16, 188, 512, 3000, 20000))
    start = draws.randrange(max(1, len(content)))
    return start, min(len(content), start + length)
