"""Writes files of arrays as PyTorch does, in both of its formats, without PyTorch."""

import collections
import contextlib
import io
import pickle
import sys
import types
import zipfile
from unittest import mock

import numpy as np

_STORAGES = {"<f4": "FloatStorage", "<i8": "LongStorage", "<f2": "HalfStorage"}


def write_pickles(path, arrays):
    """The format of PyTorch before 1.6."""
    described, stored = _describe(arrays)
    system = {"protocol_version": 1001, "little_endian": True}
    with open(path, "wb") as file:
        for each in (0x1950A86A20F9469CFC6C, 1001, system):
            pickle.dump(each, file, protocol=2)
        file.write(described)
        pickle.dump(list(stored), file, protocol=2)
        for array in stored.values():
            file.write(array.size.to_bytes(8, "little") + array.tobytes())


def write_zip(path, arrays):
    """The format since then."""
    described, stored = _describe(arrays)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("state/data.pkl", described)
        for key, array in stored.items():
            file.writestr(f"state/data/{key}", array.tobytes())


class _Tensor:
    def __init__(self, array, key):
        self.array, self.key = array, key

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        strides = tuple(s // self.array.itemsize for s in self.array.strides)
        shape, hooks = self.array.shape, collections.OrderedDict()
        return rebuild, (_Storage(self), 0, shape, strides, False, hooks)


class _Storage:
    def __init__(self, tensor):
        self.tensor = tensor


class _Pickler(pickle.Pickler):
    def persistent_id(self, each):
        if not isinstance(each, _Storage):
            return None
        array = each.tensor.array
        kind = getattr(sys.modules["torch"], _STORAGES[array.dtype.str])
        return "storage", kind, each.tensor.key, "cpu", array.size


def _describe(arrays):
    """The pickled state, and each array as it lies in memory."""
    state = collections.OrderedDict(
        (name, _Tensor(array, str(number)))
        for number, (name, array) in enumerate(arrays.items())
    )
    file = io.BytesIO()
    with _names_of_torch():
        _Pickler(file, protocol=2).dump(state)
    flat = {t.key: t.array.ravel(order="K") for t in state.values()}
    return file.getvalue(), flat


@contextlib.contextmanager
def _names_of_torch():
    torch, helpers = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in _STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def rebuild():
        """Named, never called."""

    rebuild.__module__ = helpers.__name__
    rebuild.__name__ = rebuild.__qualname__ = "_rebuild_tensor_v2"
    helpers._rebuild_tensor_v2 = rebuild
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": helpers}):
        yield


def some_arrays():
    """Arrays of several types; of one the memory has another order."""
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.standard_normal((2, 3, 4)).astype("f4").transpose(2, 0, 1),
        "conv.bias": rng.standard_normal(4).astype("f2"),
        "bn.num_batches_tracked": np.array(7),
    }
