"""Videos that preparation leaves out, counted while it goes on."""

import os
from collections.abc import Callable, Mapping

from absl import logging

from kd_keras.data import bad_videos
from kd_keras.data.segments import Index
from train.flags.config import Config


def noting(
    config: Config, folder: str | os.PathLike, index: Index
) -> Callable[[Mapping[str, str]], None]:
    """Returns the function to tell what could not be read, reason by name.

    It warns of each video once and raises TooManyBadVideos if preparation leaves out
    more than --max_bad_videos.

    Args:
        config: The run's `Config`.
        folder: Of the prepared data.
        index: The `Index` with every label.
    """
    found: dict[str, str] = {}
    num_videos = len(index.videos)
    allowed = bad_videos.num_allowed(config.data.max_bad_videos, num_videos)

    def note(left_out: Mapping[str, str]) -> None:
        for name, reason in left_out.items():
            if name not in found:
                logging.warning("Left out %s: %s", name, reason)
        found.update(left_out)
        bad_videos.refuse_too_many(
            found,
            allowed,
            num_videos,
            f", then delete {folder} and prepare it again",
        )

    return note
