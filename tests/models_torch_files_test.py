"""PyTorch's files read without PyTorch; none of them can run anything."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from kd_keras.models.torch_files import read_torch_arrays
from tests import torch_files

WRITERS = (torch_files.write_pickles, torch_files.write_zip)


@pytest.mark.parametrize("write", WRITERS)
def test_reads_arrays_of_any_type_and_order_in_memory(write, tmp_path):
    arrays, path = torch_files.some_arrays(), tmp_path / "state.pth"
    write(path, arrays)
    found = read_torch_arrays(path)
    assert [*found] == [*arrays]
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_reads_what_pytorch_writes(tmp_path):
    torch = pytest.importorskip("torch")
    arrays, path = torch_files.some_arrays(), tmp_path / "state.pth"
    state = {name: torch.tensor(array) for name, array in arrays.items()}
    state["turned"] = torch.tensor(arrays["conv.weight"]).permute(2, 0, 1)[1:]
    for zipped in (False, True):
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        found = read_torch_arrays(path)
        assert [*found] == [*state]
        for name, tensor in state.items():
            np.testing.assert_array_equal(found[name], tensor.numpy())


class _Runs:
    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("zipped", [False, True])
def test_runs_nothing_that_a_file_names(zipped, tmp_path):
    path, made = tmp_path / "state.pth", tmp_path / "made"
    attack = pickle.dumps({"weight": _Runs(made)})
    if zipped:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("state/data.pkl", attack)
    else:
        path.write_bytes(attack)
    with pytest.raises(ValueError, match=r"state.pth' is no state .*names \w+\.mkdir"):
        read_torch_arrays(path)
    assert not made.exists()
    pickle.loads(attack)
    assert made.exists()


def test_says_what_is_wrong_with_a_file(tmp_path):
    path = tmp_path / "state.pth"
    with pytest.raises(ValueError, match="state.pth' does not exist"):
        read_torch_arrays(path)
    torch_files.write_pickles(path, torch_files.some_arrays())
    whole = path.read_bytes()
    for damaged, message in (
        (whole[:-1], "it ends early"),
        (whole[: len(whole) // 2], "is no state of a PyTorch model"),
        (b"", "is no state of a PyTorch model"),
        (pickle.dumps(1) * 5, "it begins otherwise"),
        (whole.replace(b"K\x02K\x03", b"K\x09K\x03", 1), "is no state of a PyTorch"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            read_torch_arrays(path)
