"""Finds the stored optical flow of a data set's videos below one folder."""

import dataclasses
import os
import pathlib

from kd_keras.data.segments import Index
from kd_keras.data.video import file_kinds
from kd_keras.data.video.flow import FlowEncoding
from kd_keras.data.video.info import Video

# EPIC-KITCHENS-100 has the frames and the flow of a video beside each other.
_NOT_FLOW = ("rgb_frames",)


def attach_flow(
    index: Index,
    flow_root: str | os.PathLike,
    encoding: FlowEncoding,
    frame_rate: float | None = None,
) -> Index:
    """Returns the index with the flow of each video that has some below `flow_root`.

    The flow of a video is a folder of its name (the file's name without a suffix),
    which holds `u` and `v`, or that name's tar, anywhere below `flow_root` except in
    folders called `rgb_frames`. A name
    with folders in it (`kitchen/monday.mp4`) is looked for under the whole of it, too.

    Args:
        encoding: Of all of it.
        frame_rate: Flow images per second. None takes the frame rate of the frames,
            divided by the encoding's stride.
    Raises:
        ValueError: `flow_root` is no folder, or holds the flow of one name twice.
    """
    root = pathlib.Path(flow_root)
    if not root.is_dir():
        raise ValueError(f"flow_root {root} is not a folder.")
    found = _find(root)
    videos = {
        name: _with_flow(video, root, found, encoding, frame_rate)
        for name, video in index.videos.items()
    }
    return dataclasses.replace(index, videos=videos)


def _find(root):
    """Folders with u and v, and tars, by their name without a suffix."""
    found = {}
    for folder, folders, files in os.walk(root, followlinks=True):
        here = pathlib.Path(folder)
        if {"u", "v"} <= set(folders):
            found.setdefault(here.name, []).append(here)
            # The images of a long video are many.
            folders.clear()
            continue
        folders[:] = [name for name in folders if name not in _NOT_FLOW]
        for file in files:
            if file_kinds.is_tar(file) and not file.startswith("."):
                name, _ = file_kinds.split_suffix(file)
                found.setdefault(name, []).append(here / file)
    return found


def _is_at(path, place):
    return path == place or file_kinds.split_suffix(os.fspath(path))[0] == str(place)


def _with_flow(video: Video, root, found, encoding, frame_rate):
    name = pathlib.PurePosixPath(video.name)
    # A folder called "day.2" has no suffix; a file may bring its own in its name.
    is_file = video.frame_rate is None
    if is_file and name.suffix == pathlib.Path(video.path).suffix:
        name = name.with_suffix("")
    paths = found.get(name.name, [])
    # A compressed tar is taken if there is nothing else. Reading it then raises an
    # error that explains the problem.
    paths = [path for path in paths if not file_kinds.problem(path)] or paths
    exact = [path for path in paths if _is_at(path, root / name)]
    paths = exact or paths
    if not paths:
        return video
    if len(paths) > 1:
        raise ValueError(
            f"{video.name} has its flow twice below {root}: "
            f"{', '.join(map(str, sorted(paths)))}. Keep one of them."
        )
    return dataclasses.replace(
        video,
        flow_path=paths[0],
        flow_encoding=encoding,
        flow_frame_rate=frame_rate,
    )
