"""Where features lie: a .npy file for each video, one .npz, or RULSTM's LMDB."""

import collections
import contextlib
import functools
import os
import pathlib
import zipfile
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from kd_keras.data import kept_arrays
from kd_keras.data.features.rulstm import RulstmStore
from kd_keras.data.video.info import BadVideo, Video, VideoInfo


class FeatureStore(Protocol):
    """Gives the features of videos by their names."""

    def path(self, name: str) -> pathlib.Path:
        """The file that holds the features of a video."""

    def times_s(self, name: str, rate: float) -> np.ndarray:
        """When each time step of a video is, in seconds.

        Raises:
            BadVideo: There is no such video.
        """

    def shape(self, name: str) -> tuple[int, ...]:
        """(channels,) or (height, width, channels) of a time step."""

    def read(self, name: str, indices: np.ndarray) -> np.ndarray:
        """Time steps of a video: (len(indices), ...) numbers.

        Raises:
            BadVideo: They cannot be read.
        """


def open_store(root: str | os.PathLike) -> FeatureStore:
    """Opens what a path leads to.

    Args:
        root: A folder with `<video>.npy` for each video, (time, channels) or (time,
            height, width, channels); an .npz, either with such an array for each video
            under its name, or with the array `features` (videos, time, ...), the array
            `name` and perhaps the number `scale` to multiply by; or the folder of an
            LMDB (`data.mdb`) with RULSTM's keys.
    Raises:
        ValueError: If it is something else.
    """
    root = pathlib.Path(root)
    if (root / "data.mdb").is_file():
        return RulstmStore(root)
    if root.is_dir():
        return NpyStore(root)
    if root.suffix == ".npz" and root.is_file():
        return NpzStore(root)
    raise ValueError(
        f"There are no features at {root}. Expected a folder with a .npy file for each "
        "video, an .npz file, or the folder of an LMDB."
    )


def probe(store: FeatureStore, video: Video, rate: float) -> VideoInfo:
    """What `reading.probe` finds out of a video file.

    Args:
        rate: Time steps per second.
    Raises:
        BadVideo: There are no features of it, or not of a known shape.
    """
    times_s = store.times_s(video.name, rate)
    if not len(times_s):
        raise BadVideo(video.name, "it has no time step")
    height, width, _ = map_shape(store.shape(video.name), video.name)
    return VideoInfo(times_s, float(times_s[-1] + 1 / rate), height, width)


def usual_shape(
    store: FeatureStore, names: Iterable[str]
) -> tuple[int, int, int] | None:
    """(height, width, channels) that the time steps of most videos have.

    None if no video has features.
    """
    shapes: collections.Counter[tuple[int, int, int]] = collections.Counter()
    for name in names:
        with contextlib.suppress(BadVideo, OSError):
            shapes[map_shape(store.shape(name), name)] += 1
    return max(shapes, key=shapes.__getitem__, default=None)


def map_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """(height, width, channels) of a time step: those of a vector are 1 x 1.

    Raises:
        BadVideo: It is neither a vector nor a map.
    """
    if len(shape) not in (1, 3) or 0 in shape:
        raise BadVideo(
            name,
            "features must be (time, channels) or (time, height, width, channels). A "
            f"time step has the shape {shape}",
        )
    return (1, 1, *shape) if len(shape) == 1 else shape


class _ArrayStore:
    """Features that are one array for each video, its first axis the time."""

    def times_s(self, name, rate):
        return np.arange(len(self._array(name))) / rate

    def shape(self, name):
        return self._array(name).shape[1:]

    def read(self, name, indices):
        return np.asarray(self._array(name)[indices])


class NpyStore(_ArrayStore):
    """A folder with a .npy file for each video."""

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)

    def path(self, name):
        return self._folder / (name if name.endswith(".npy") else f"{name}.npy")

    def _array(self, name):
        path = self.path(name)
        if not path.is_file():
            raise BadVideo(name, f"there is no {path}")
        try:
            return _numbers(name, kept_arrays.map_npy(path))
        except (ValueError, EOFError, OSError) as error:
            if isinstance(error, BadVideo):
                raise
            raise BadVideo(name, f"{path} is no .npy file: {error}") from error


class NpzStore(_ArrayStore):
    """One .npz file, all of it in memory."""

    def __init__(self, path):
        self._path = pathlib.Path(path)
        arrays, self._scale = _load_npz(path), 1.0
        if {"features", "name"} <= arrays.keys():
            self._scale = _scale(path, arrays.get("scale", 1.0))
            arrays = _by_name(path, arrays["name"], arrays["features"])
        self._arrays = arrays

    def __reduce__(self):
        return _opened_npz, (self._path,)

    def path(self, name):
        return self._path

    def read(self, name, indices):
        steps = super().read(name, indices)
        if self._scale == 1:
            return steps
        # The product would be float16 if the features are, and lose digits.
        return steps.astype(np.float32) * np.float32(self._scale)

    def _array(self, name):
        if name not in self._arrays:
            raise BadVideo(name, f"{self._path} has no array of this name")
        return _numbers(name, self._arrays[name])


def _load_npz(path):
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is another kind of file, or its end is missing")
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(array) for name, array in file.items()}
    except kept_arrays.NPZ_ERRORS as error:
        raise ValueError(f"{path} is no .npz file of numbers: {error}") from error


def _by_name(path, names, features):
    """The features of each video, by its name."""
    if names.ndim != 1 or not features.ndim or len(names) != len(features):
        raise ValueError(
            f"{path} has `name` of shape {names.shape} and `features` of shape "
            f"{features.shape}; the two belong together, as (videos,) and (videos, "
            "time, ...)."
        )
    if names.dtype.kind == "S":
        names = np.char.decode(names, "utf-8")
    found = dict(zip(map(str, names), features, strict=True))
    if len(found) < len(names):
        (name, times), *_ = collections.Counter(map(str, names)).most_common(1)
        raise ValueError(
            f"{path} has {name!r} {times} times in `name`; each video needs a name of "
            "its own."
        )
    return found


def _scale(path, scale):
    scale = np.asarray(scale)
    if scale.size != 1 or scale.dtype.kind not in "iuf" or not np.isfinite(scale):
        raise ValueError(
            f"{path} has a `scale` that is {scale.dtype} of shape {scale.shape}; write "
            "one finite number, by which all features are multiplied."
        )
    return float(scale.item())


@functools.lru_cache(maxsize=2)
def _opened_npz(path):
    """The store that another process reads once, whatever number of jobs it is sent."""
    return NpzStore(path)


def _numbers(name, array):
    if not array.ndim or not np.issubdtype(array.dtype, np.number):
        raise BadVideo(name, f"its features are {array.dtype} of shape {array.shape}")
    return array
