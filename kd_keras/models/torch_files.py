"""Reads the arrays of a PyTorch file without PyTorch, and runs nothing from it.

A pickle may name any function and have it called. The reader here knows the few names
that a file of arrays needs, and refuses all others, as PyTorch's own
`torch.load(weights_only=True)` does. It takes both formats: a row of pickles, which
PyTorch wrote until 1.5, and the zip file that it has written since.
"""

import collections
import math
import os
import pickle
import zipfile
from typing import NamedTuple

import numpy as np

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

# The types of numbers in networks' states. A file holds them in little-endian order.
_STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
}


class _Storage(NamedTuple):
    dtype: str
    key: str


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the arrays that `torch.save(model.state_dict(), path)` wrote, by name.

    Raises:
        ValueError: If the file is missing, damaged, or holds anything but arrays.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise ValueError(f"{path!r} does not exist.")
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_pickles
        tensors, stored = read(path)
        return {
            name: _array(tensor, stored[tensor.storage.key])
            for name, tensor in tensors.items()
        }
    except Exception as error:  # What a damaged pickle raises is anybody's guess.
        raise ValueError(
            f"{path!r} is no state of a PyTorch model, which holds arrays alone: "
            f"{error}"
        ) from error


class _Unpickler(pickle.Unpickler):
    """Makes dicts of descriptions of arrays, and nothing else."""

    def find_class(self, module, name):
        name = f"{module}.{name}"
        if name in _STORAGES:
            return _STORAGES[name]
        if name == "collections.OrderedDict":
            return collections.OrderedDict
        if name == "torch._utils._rebuild_tensor_v2":
            # A function of its own, so that a file cannot set attributes of a class.
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, shape, strides
            )
        raise pickle.UnpicklingError(f"it names {name}")

    def persistent_load(self, pid):
        _, dtype, key, *_ = pid
        return _Storage(dtype, key)


def _read_zip(path):
    with zipfile.ZipFile(path) as file:
        (table,) = (n for n in file.namelist() if n.endswith("/data.pkl"))
        folder = table.removesuffix("data.pkl")
        with file.open(table) as pickled:
            tensors = _Unpickler(pickled).load()
        keys = {tensor.storage.key for tensor in tensors.values()}
        return tensors, {key: file.read(f"{folder}data/{key}") for key in keys}


def _read_pickles(path):
    """Three pickles of the format, the arrays' descriptions, their keys; then bytes."""
    with open(path, "rb") as file:
        magic, protocol, _, tensors, keys = (_Unpickler(file).load() for _ in range(5))
        if (magic, protocol) != (_MAGIC, _PROTOCOL):
            raise pickle.UnpicklingError("it begins otherwise")
        sizes = {
            tensor.storage.key: np.dtype(tensor.storage.dtype).itemsize
            for tensor in tensors.values()
        }
        stored = {}
        for key in keys:
            size = int.from_bytes(file.read(8), "little") * sizes[key]
            stored[key] = file.read(size)
            if len(stored[key]) < size:
                raise EOFError("it ends early")
        return tensors, stored


def _array(tensor: _Tensor, stored: bytes) -> np.ndarray:
    values = np.frombuffer(stored, tensor.storage.dtype)
    if math.prod(tensor.shape) > len(values):
        raise ValueError(f"{tensor.shape} numbers are more than the {len(values)}")
    positions = np.full(tensor.shape, tensor.offset)
    for axis, (size, stride) in enumerate(
        zip(tensor.shape, tensor.strides, strict=True)
    ):
        along = [1] * len(tensor.shape)
        along[axis] = size
        positions += np.arange(size).reshape(along) * stride
    return values[positions]
