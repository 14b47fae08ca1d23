"""Arrays that are kept on disk."""

import concurrent.futures
import time

import numpy as np
import pytest

from kd_keras.data.kept_arrays import DamagedArray, read_array, write_array

ARRAY = np.random.default_rng(0).integers(0, 256, (2, 3, 4), np.uint8)


@pytest.mark.parametrize("mapped", [False, True])
def test_reads_back_what_was_written(tmp_path, mapped):
    path = tmp_path / "a/b/array.npy"
    write_array(path, ARRAY)
    write_array(path, ARRAY[1:])
    for again in (read_array(path, mapped), np.load(path)):
        np.testing.assert_array_equal(again, ARRAY[1:])
        assert again.dtype == np.uint8
    assert isinstance(read_array(path, mapped), np.memmap) == mapped
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


def test_threads_parse_no_two_headers_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "array.npy"
    write_array(path, ARRAY)
    load, parsing, most = np.lib.format.open_memmap, [], []

    def slow_load(*arguments, **options):
        parsing.append(1)
        most.append(len(parsing))
        time.sleep(0.01)
        parsing.pop()
        return load(*arguments, **options)

    monkeypatch.setattr(np.lib.format, "open_memmap", slow_load)
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        found = list(executor.map(read_array, [path] * 16))
    np.testing.assert_array_equal(found, [ARRAY] * 16)
    assert most == [1] * 16
