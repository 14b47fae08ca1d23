"""What a run, or prepared data, was made from; the same command later is held to it.

The annotations and the list of videos are kept beside what was made, in
`data_set.json`. A video is known by its size; one that was opened to read the
annotations also by samples of its bytes, or by some of the frames in its folder. Stored
flow is known by such samples, too. Times of change do not count: a copy on another
machine has others.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from kd_keras.data import remote
from kd_keras.data.readers import csv_videos
from kd_keras.data.records import data_set as stored_data_set
from kd_keras.data.records import shards
from kd_keras.data.records.changes import changes
from kd_keras.data.segments import Index
from kd_keras.data.video.image_files import ImageFiles
from kd_keras.data.video.info import BadVideo, VideoInfo
from kd_keras.data.video.numbered_images import find_images
from train.flags.data import Data

FILE = stored_data_set.FILE

# The flags of files that networks come from.
OF_NETWORKS = ("teacher", "weights", "teacher_weights", "attribute_weights")

# So many bytes at the start, in the middle and at the end of a file.
_SAMPLE_BYTES = 65_536
# How many bytes or images, and the checksum of samples; None for what is not known.
_Content: TypeAlias = list[int | str | None]


class ChangedDataError(shards.StaleRecords):
    """The annotations or the videos are not those that something was made from."""


def describe(flags: Data, index: Index, with_times: bool = False) -> dict[str, Any]:
    """Returns what is kept of a data set, as JSON can hold it.

    Args:
        flags: The run's `Data` flags.
        index: Its `Index` with every label.
        with_times: As in `data_set.values`.
    """
    values = stored_data_set.values(index, with_times)
    # Generated videos are made again on each machine.
    if flags.dataset != "demo":
        values["files"] = {
            name: _content(video.path, index.infos.get(name))
            for name, video in index.videos.items()
        }
    if flags.modality == "flow":
        values["flow"] = {
            name: _flow_content(name, video.flow_path, index.infos.get(name))
            for name, video in index.videos.items()
            if video.flow_path is not None
        }
    if flags.unlabeled_list is not None:
        values["unlabeled_list"] = shards.checksum(flags.unlabeled_list)
    return values


def to_bytes(values: Mapping[str, Any]) -> bytes:
    """Returns the content of the file that keeps them."""
    return json.dumps(values).encode()


def refuse_changes(
    folder: str | os.PathLike, now: Mapping[str, Any], made: str
) -> None:
    """Raises ChangedDataError if what is in a folder was made from another data set.

    Folders that keep no data set are let pass: older versions wrote none.

    Args:
        folder: Local or remote.
        now: What `describe` returns today; for a run also the checksums of the files
            that its networks come from, by the names of their flags.
        made: Says what the folder holds, such as "a run".
    """
    path = remote.join(folder, FILE)
    if not remote.exists(path):
        return
    before = json.loads(remote.read_bytes(path))
    found = changes(before, now)
    found += _other_files(before, now, ("unlabeled_list",))
    what = "other networks" if not found else "another data set"
    found += _other_files(before, now, OF_NETWORKS)
    _stop_at(found, f"{folder} holds {made} of {what}")


def refuse_other_annotations(flags: Data, index: Index) -> None:
    """The same for --records and the CSV that is given beside them; reads no video.

    Args:
        flags: The run's `Data` flags.
        index: The `Index` beside the records.
    """
    path = flags.annotations
    if flags.dataset != "csv" or path is None or not os.path.isfile(path):
        return
    now = csv_videos.read_again(path, flags.video_root or ".", index)
    found = changes(stored_data_set.values(index), stored_data_set.values(now))
    _stop_at(found, f"{flags.records} holds clips of other annotations than {path}")


def _other_files(
    before: Mapping[str, Any], now: Mapping[str, Any], names: Iterable[str]
) -> list[str]:
    """Says which flags name files of another content; a file that is gone is none."""
    files = {name: (before.get(name), now.get(name)) for name in names}
    return [
        f"--{name} has another content"
        for name, (one, other) in files.items()
        if None not in (one, other) and one != other
    ]


def _stop_at(found: Sequence[str], what: str) -> None:
    if found:
        raise ChangedDataError(
            f"{what}. What has changed: {'; '.join(found)}. Undo that to go on, or "
            "name another folder: --run_dir of a run, --output of prepared data."
        )


def _content(path: str | os.PathLike, info: VideoInfo | None) -> _Content:
    """[bytes, checksum of samples] of a video; None for what is not known."""
    if os.path.isdir(path):
        if info is None or info.images is None:
            return [None, None]
        return _of_images(info.images)
    if not os.path.isfile(path):
        return [None, None]
    return [os.path.getsize(path), None] if info is None else _of_file(path)


def _flow_content(name: str, path: pathlib.Path, info: VideoInfo | None) -> _Content:
    """The same of its stored flow, of which `u` stands for both."""
    try:
        if not path.is_dir():
            return _of_file(path)
        # A release that is not opened may have millions of images.
        return (
            [None, None] if info is None else _of_images(find_images(name, path, "u"))
        )
    except (BadVideo, OSError):
        # Reading its clips says what is wrong with it.
        return [None, None]


def _of_images(images: ImageFiles) -> _Content:
    sha256, number = hashlib.sha256(), len(images)
    try:
        for _, content in images.read([0, number // 2, number - 1]):
            sha256.update(content)
    except OSError:
        # Reading its clips says what is wrong with it.
        return [number, None]
    return [number, sha256.hexdigest()[:16]]


def _of_file(path: str | os.PathLike) -> _Content:
    sha256, size = hashlib.sha256(), os.path.getsize(path)
    with open(path, "rb") as file:
        for start in (0, (size - _SAMPLE_BYTES) // 2, size - _SAMPLE_BYTES):
            file.seek(max(start, 0))
            sha256.update(file.read(_SAMPLE_BYTES))
    return [size, sha256.hexdigest()[:16]]
