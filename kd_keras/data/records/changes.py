"""What has changed between two readings of a data set, in words."""

import collections
from collections.abc import Iterable, Mapping

_NUM_SHOWN = 5
# Decoders differ in the last digits of an end that is cut to its video's.
_DECIMALS = 6


def changes(before: Mapping, now: Mapping) -> list[str]:
    """Describes how two data sets differ. The list is empty if they do not.

    The order of rows and the paths of the videos do not count.

    Args:
        before, now: `data_set.values` of each, perhaps with `files` and `flow`, which
            name the content of videos and of their stored flow.
    """
    return [
        *_of_classes(before["classes"], now["classes"]),
        *_of_videos(before, now),
        *_of_files(before.get("files", {}), now.get("files", {})),
        *_of_flow(before, now),
        *_of_groups(before, now),
        *_of_rows(before, now),
    ]


def _of_classes(before, now):
    for verb, names in (
        ("added", [name for name in now if name not in before]),
        ("removed", [name for name in before if name not in now]),
    ):
        if names:
            yield f"{_count(len(names), 'class', 'classes')} {verb} ({_first(names)})"
    if before != now and sorted(before) == sorted(now):
        yield f"the classes have another order ({_first(now)})"


def _of_videos(before, now):
    parts, others = before["parts"], now["parts"]
    added = [name for name in others if name not in parts]
    removed = [
        f"{name}: {now['bad_videos'][name]}" if name in now["bad_videos"] else name
        for name in parts
        if name not in others
    ]
    moved = [
        f"{name} from {part} to {others[name]}"
        for name, part in parts.items()
        if others.get(name, part) != part
    ]
    for text, names in (
        ("added", added),
        ("removed or unreadable", removed),
        ("moved to another part", moved),
    ):
        if names:
            yield f"{_count(len(names), 'video')} {text} ({_first(names)})"


def _of_files(before, now):
    names = [name for name, known in before.items() if _differ(known, now.get(name))]
    if names:
        yield f"{_count(len(names), 'video')} of another content ({_first(names)})"


def _of_flow(before, now):
    # Older versions kept none.
    if "flow" not in before or "flow" not in now:
        return
    flow, other = before["flow"], now["flow"]
    names = [
        name
        for name in before["parts"]
        if name in now["parts"]
        and (
            (name in flow) != (name in other)
            or _differ(flow.get(name), other.get(name))
        )
    ]
    if names:
        yield f"{_count(len(names), 'video')} of other stored flow ({_first(names)})"


def _differ(content, other):
    """Whether two contents of a file are both known, and not the same."""
    return any(
        None not in values and values[0] != values[1]
        for values in zip(content or (), other or (), strict=False)
    )


def _of_groups(before, now):
    # Older versions kept no groups.
    if "groups" not in before:
        return
    groups, others = before["groups"], now["groups"]
    common = before["parts"].keys() & now["parts"].keys()
    names = sorted(name for name in common if groups.get(name) != others.get(name))
    if names:
        yield f"{_count(len(names), 'video')} in another group ({_first(names)})"


def _of_rows(before, now):
    rows, others = _rows_by_video(before), _rows_by_video(now)
    texts = []
    for name in before["parts"]:
        if name not in now["parts"] or rows[name] == others[name]:
            continue
        gone, new = rows[name] - others[name], others[name] - rows[name]
        relabeled = _times(gone) & _times(new)
        counts = {
            "with another label": relabeled.total(),
            "with other times": min(gone.total(), new.total()) - relabeled.total(),
            "added": max(new.total() - gone.total(), 0),
            "removed": max(gone.total() - new.total(), 0),
        }
        said = [f"{number} {text}" for text, number in counts.items() if number]
        texts.append(f"{name}: {', '.join(said)}")
    if texts:
        yield f"rows of {_count(len(texts), 'video')} ({_first(texts, '; ')})"


def _rows_by_video(values):
    found = collections.defaultdict(collections.Counter)
    for video, start_s, end_s, label, *_ in values["segments"]:
        row = round(start_s, _DECIMALS), round(end_s, _DECIMALS), label
        found[video][row] += 1
    return found


def _times(rows):
    counted = collections.Counter()
    for (start_s, end_s, _), number in rows.items():
        counted[start_s, end_s] += number
    return counted


def _count(number, one, many=None):
    return f"{number} {one if number == 1 else many or one + 's'}"


def _first(texts: Iterable[str], separator=", "):
    texts = list(texts)
    more = len(texts) - _NUM_SHOWN
    shown = separator.join(texts[:_NUM_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
