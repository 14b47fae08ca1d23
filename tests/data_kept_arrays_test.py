"""Arrays that are kept on disk."""

import numpy as np
import pytest

from kd_keras.data.kept_arrays import DamagedArray, read_array, write_array

ARRAY = np.random.default_rng(0).integers(0, 256, (2, 3, 4), np.uint8)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_reads_back_what_was_written(tmp_path, mmap_mode):
    path = tmp_path / "a/b/array.npy"
    write_array(path, ARRAY)
    write_array(path, ARRAY[1:])
    for again in (read_array(path, mmap_mode), np.load(path)):
        np.testing.assert_array_equal(again, ARRAY[1:])
        assert again.dtype == np.uint8
    assert [file.name for file in path.parent.iterdir()] == ["array.npy"]


def test_no_byte_may_change(tmp_path):
    path = tmp_path / "array.npy"
    write_array(path, ARRAY)
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedArray, match="checksum"):
            read_array(path)


@pytest.mark.parametrize("length", [0, 3, 100, -1, -4])
def test_no_byte_may_be_missing(tmp_path, length):
    path = tmp_path / "array.npy"
    write_array(path, ARRAY)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedArray):
        read_array(path)


def test_files_without_a_checksum_are_not_used(tmp_path):
    np.save(tmp_path / "array.npy", ARRAY)
    with pytest.raises(DamagedArray, match="checksum"):
        read_array(tmp_path / "array.npy")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path / "array.npy")
