"""How many videos of a data set may be unreadable: one rule and one error."""

import math
from collections.abc import Mapping

_NUM_SHOWN = 5


class TooManyBadVideos(ValueError):
    """So many videos cannot be read that something else must be wrong."""


def num_allowed(max_bad_videos: float, num_videos: int) -> int:
    """Returns how many videos may be left out.

    Args:
        max_bad_videos: Fraction of the videos, in [0, 1]. One video may always be left
            out, so that a small data set survives a broken file; 0 allows none.
        num_videos: Of the whole data set.
    """
    if not 0 <= max_bad_videos <= 1:
        raise ValueError(
            "max_bad_videos must be a fraction of the videos, from 0 to 1. Got "
            f"{max_bad_videos}."
        )
    # The addend undoes floating error: 0.29 * 100 is 28.999999999999996.
    allowed = math.floor(max_bad_videos * num_videos + 1e-9)
    return max(1, allowed) if max_bad_videos else 0


def refuse_too_many(
    bad_videos: Mapping[str, str], allowed: int, num_videos: int, fix: str = ""
) -> None:
    """Raises TooManyBadVideos, with their names, if there are more than allowed.

    Args:
        bad_videos: Reason by name.
        fix: What else has to be done once they are mended.
    """
    if len(bad_videos) <= allowed:
        return
    shown = [f"  {name}: {reason}" for name, reason in bad_videos.items()][:_NUM_SHOWN]
    if len(bad_videos) > len(shown):
        shown.append(f"  ... and {len(bad_videos) - len(shown)} more")
    raise TooManyBadVideos(
        f"{len(bad_videos)} of {num_videos} videos cannot be read; at most {allowed} "
        f"may be left out. Mend them or take them out of the annotations{fix}; or "
        "raise max_bad_videos:\n" + "\n".join(shown)
    )
