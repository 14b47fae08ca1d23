"""An `Index` as a JSON file beside prepared data, so that training needs no videos."""

import dataclasses
import json
import pathlib

import numpy as np

from kd_keras.data import remote
from kd_keras.data.segments import Index, Segment
from kd_keras.data.video.info import Video, VideoInfo

FILE = "data_set.json"


def values(index: Index, with_times: bool = False) -> dict:
    """What is kept of an index, as JSON can hold it; where its videos lie is not.

    Args:
        with_times: Also the times of all frames, which pairs by fraction count. Those
            of a video that shows nothing for a while are always kept.
    """
    return {
        "classes": list(index.classes),
        "parts": {name: video.part for name, video in index.videos.items()},
        "groups": {
            name: video.group
            for name, video in index.videos.items()
            if video.group is not None
        },
        "durations_s": index.durations_s,
        "segments": [list(dataclasses.astuple(s)) for s in index.segments],
        "bad_videos": index.bad_videos,
        "dropped": index.dropped,
        "infos": {
            name: _info_values(info)
            for name, info in index.infos.items()
            if name in index.videos and (with_times or info.blanks_s)
        },
    }


def to_json(index: Index, with_times: bool = False) -> bytes:
    """Serializes `values`."""
    return json.dumps(values(index, with_times)).encode()


def read(folder) -> Index:
    """The index beside prepared data.

    Raises:
        ValueError: The file is damaged; names it.
    """
    path = remote.join(folder, FILE)
    content = remote.read_bytes(path)
    try:
        return from_json(content)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{path} is no list of prepared data ({error!r}). Prepare the data again "
            "into another folder."
        ) from error


def from_json(content: bytes) -> Index:
    """Reads back what `to_json` wrote; without times, `infos` is almost empty."""
    kept = json.loads(content)
    # What an earlier release prepared has no groups.
    groups = kept.get("groups", {})
    return Index(
        classes=tuple(kept["classes"]),
        videos={
            name: Video(name, pathlib.Path(name), part, group=groups.get(name))
            for name, part in kept["parts"].items()
        },
        durations_s=kept["durations_s"],
        segments=tuple(Segment(*segment) for segment in kept["segments"]),
        bad_videos=kept["bad_videos"],
        dropped=kept["dropped"],
        infos={
            name: VideoInfo(times_s=np.array(info.pop("times_s")), **info)
            for name, info in kept["infos"].items()
        },
    )


def _info_values(info):
    return {
        "times_s": info.times_s.tolist(),
        "duration_s": float(info.duration_s),
        "height": info.height,
        "width": info.width,
    }
