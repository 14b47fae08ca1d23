"""How much memory is left."""

import pathlib

_MEMINFO = pathlib.Path("/proc/meminfo")
# What containers and clusters allow; memory that the machine has beyond is not ours.
_LIMITS = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_bytes() -> int | None:
    """Bytes that this process may still take; None if the system does not say."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    if "MemAvailable" not in fields:
        return None
    kibibytes, _ = fields["MemAvailable"].split()
    return min([int(kibibytes) * 1024, *_limits()])


def _limits():
    for path in _LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        # "max" is no limit.
        if text.isdecimal():
            yield int(text)
