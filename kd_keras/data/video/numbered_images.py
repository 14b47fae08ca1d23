"""Numbered images in a folder, or inside a tar that is never unpacked."""

import itertools
import os
import pathlib
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from kd_keras.data.video import file_kinds
from kd_keras.data.video.image_files import ImageFiles
from kd_keras.data.video.info import BadVideo, Video, VideoInfo

_SUFFIXES = (".png", ".jpg", ".jpeg")
_TAR_BLOCK = 512


def probe_images(video: Video, path: pathlib.Path) -> VideoInfo:
    """Lists the frames of a folder or a tar and decodes the first."""
    if not video.frame_rate or not video.frame_rate > 0:
        kind = "folder" if path.is_dir() else "tar"
        # A BadVideo: in a CSV of video files it is one mistake among many rows.
        raise BadVideo(
            video.name,
            f"it is a {kind} of frames: its Video needs a frame_rate in frames per "
            f"second, got {video.frame_rate}; in a CSV, name a video file",
        )
    images = find_images(video.name, path)
    height, width = next(read_images(video.name, images, [0], cv2.IMREAD_COLOR)).shape[
        :2
    ]
    return VideoInfo(
        times_s=np.arange(len(images)) / video.frame_rate,
        duration_s=len(images) / video.frame_rate,
        height=height,
        width=width,
        images=images,
    )


def iterate_images(video, info, wanted, size) -> Iterator[np.ndarray]:
    """Yields the frames at `wanted` as RGB, resized to `size` (width, height)."""
    previous, picture = None, None
    distinct = [index for index, _ in itertools.groupby(wanted)]
    decoded = read_images(
        video.name, info.images, distinct, cv2.IMREAD_COLOR, (info.height, info.width)
    )
    for index in wanted:
        if index != previous:
            picture = cv2.cvtColor(resize(next(decoded), size), cv2.COLOR_BGR2RGB)
            previous = index
        yield picture


def find_images(name: str, path: pathlib.Path, subfolder: str | None = None):
    """Lists the numbered images of a folder or a tar as `ImageFiles`.

    Images of a tar may lie in a folder of it, but in one alone.

    Args:
        name: Of the video, for messages.
        subfolder: Last part of the folder that holds the images: `u` or `v` of flow.
    Raises:
        BadVideo: There are none, a number is missing or twice there, or the tar is cut
            off, damaged or compressed.
    """
    found = _in_folder(path, subfolder) if path.is_dir() else _in_tar(name, path)
    if not path.is_dir():
        found = _in_one_folder(name, path, found, subfolder)
    where = path if subfolder is None else path / subfolder
    numbered = {}
    for file, place in found:
        number = re.search(r"(\d+)$", pathlib.PurePath(file).stem)
        if not number:
            continue
        other, _ = numbered.setdefault(int(number[1]), (file, place))
        if other != file:
            raise BadVideo(
                name, f"{where} holds two frames of one number: {other}, {file}"
            )
    if not numbered:
        raise BadVideo(name, f"{where} holds no numbered .png or .jpg frames")
    for before, after in itertools.pairwise(sorted(numbered)):
        if after != before + 1:
            raise BadVideo(name, f"{where} has no frame number {before + 1}")
    files, places = zip(*(numbered[number] for number in sorted(numbered)), strict=True)
    return ImageFiles(
        path,
        np.array([os.fsencode(file) for file in files]),
        None if path.is_dir() else np.array(places, np.int64),
    )


def read_images(
    name: str,
    images: ImageFiles,
    positions: Iterable[int],
    flags: int,
    size: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Yields decoded images, BGR or gray as OpenCV's `flags` say.

    Raises:
        BadVideo: One cannot be read or decoded, or is not `size` (height, width).
    """
    try:
        for label, data in images.read(positions):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
            if image is None:
                raise BadVideo(name, f"{label} cannot be read as an image")
            if size is not None and image.shape[:2] != size:
                height, width = image.shape[:2]
                raise BadVideo(
                    name,
                    f"{label} is {width} x {height} pixels, the frames before it "
                    f"{size[1]} x {size[0]}",
                )
            yield image
    except OSError as error:
        raise BadVideo(name, str(error)) from error


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at (width, height), by averaging areas when it shrinks."""
    (height, width), (new_width, new_height) = image.shape[:2], size
    if (width, height) == tuple(size):
        return image
    shrinks = new_height <= height and new_width <= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how)


def _is_image(file):
    # `._00001.png` and `.AppleDouble` are what macOS leaves in archives.
    hidden = any(part.startswith(".") for part in file.split("/") if part != ".")
    return file.lower().endswith(_SUFFIXES) and not hidden


def _in_folder(path, subfolder):
    folder = path if subfolder is None else path / subfolder
    if not folder.is_dir():
        return []
    prefix = "" if subfolder is None else f"{subfolder}/"
    return [
        (f"{prefix}{file}", None)
        for file in sorted(os.listdir(folder))
        if _is_image(file)
    ]


def _in_tar(name, path):
    """The images of a tar, each with its place in it."""
    if problem := file_kinds.problem(path):
        raise BadVideo(name, problem)
    found = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isreg() and _is_image(member.name):
                    found.append((member.name, (member.offset_data, member.size)))
                # It would keep a kilobyte for each.
                tar.members.clear()
            end = tar.offset
    except tarfile.TarError as error:
        raise BadVideo(
            name,
            f"{path} cannot be read as a tar without compression ({error}); it may be "
            f"cut off, or compressed (then unpack it: tar -xf {path.name})",
        ) from error
    with open(path, "rb") as tar:
        tar.seek(end)
        mark = tar.read(_TAR_BLOCK)
    # Without the mark tarfile takes any end, and any damage, for the end.
    if len(mark) < _TAR_BLOCK:
        raise BadVideo(
            name,
            f"{path} is cut off after {len(found)} images: it has no end-of-archive "
            "mark",
        )
    if any(mark):
        raise BadVideo(name, f"{path} is damaged at byte {end}")
    return found


def _in_one_folder(name, path, found, subfolder):
    folders = {}
    for file, place in found:
        folders.setdefault(posixpath.dirname(file), []).append((file, place))
    if subfolder is not None:
        folders = {
            folder: files
            for folder, files in folders.items()
            if posixpath.basename(folder) == subfolder
        }
    if len(folders) > 1:
        hint = (
            "; that is flow, not frames"
            if {posixpath.basename(folder) for folder in folders} == {"u", "v"}
            else ""
        )
        raise BadVideo(
            name,
            f"{path} holds images in several folders: "
            f"{', '.join(sorted(folders))}{hint}",
        )
    return next(iter(folders.values()), [])
