"""An `Index` as a JSON file beside prepared data, so that training needs no videos."""

import dataclasses
import json
import pathlib

import numpy as np

from kd_keras.data.segments import Index, Segment, Video
from kd_keras.data.video import VideoInfo

FILE = "data_set.json"


def to_json(index: Index, with_times: bool = False) -> bytes:
    """Serialises an index.

    Args:
        with_times: Also the times of all frames, which pairs by fraction count.
    """
    return json.dumps(
        {
            "classes": index.classes,
            "videos": {
                video.name: {
                    "path": str(video.path),
                    "part": video.part,
                    "frame_rate": video.frame_rate,
                }
                for video in index.videos.values()
            },
            "durations_s": index.durations_s,
            "segments": [dataclasses.astuple(segment) for segment in index.segments],
            "bad_videos": index.bad_videos,
            "infos": {
                name: _info_values(info, with_times)
                for name, info in index.infos.items()
                if name in index.videos
            },
        }
    ).encode()


def from_json(content: bytes) -> Index:
    """Reads back what `to_json` wrote; without times, `infos` is empty."""
    values = json.loads(content)
    return Index(
        classes=tuple(values["classes"]),
        videos={
            name: Video(name, pathlib.Path(v["path"]), v["part"], v["frame_rate"])
            for name, v in values["videos"].items()
        },
        durations_s=values["durations_s"],
        segments=tuple(Segment(*segment) for segment in values["segments"]),
        bad_videos=values["bad_videos"],
        infos={
            name: VideoInfo(times_s=np.array(info.pop("times_s")), **info)
            for name, info in values["infos"].items()
            if "times_s" in info
        },
    )


def _info_values(info, with_times):
    values = {
        "duration_s": float(info.duration_s),
        "height": info.height,
        "width": info.width,
    }
    if with_times:
        values["times_s"] = info.times_s.tolist()
    return values
