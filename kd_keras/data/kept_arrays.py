"""Arrays kept on disk: .npy files that end in a checksum, so that no damage is used."""

import os
import pathlib
import threading
import tokenize
import zipfile
import zlib

import numpy as np

from kd_keras.aside import written_aside

# A CRC-32 of all before it, little-endian. NumPy reads no further than the array.
_CHECKSUM_BYTES = 4
# NumPy parses a header as Python does. Before 3.11.8 and 3.12.2 Python fails if threads
# parse at the same time (https://github.com/python/cpython/issues/106905).
_one_parses = threading.Lock()
# What NumPy and zipfile raise at damaged .npz files.
NPZ_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class DamagedArray(ValueError):
    """A file is not what was written: a part is missing, or a byte has changed."""


def write_array(path: str | os.PathLike, array: np.ndarray) -> None:
    """Writes the array, whole or not at all, and makes the folders above it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, array)
        file.flush()
        checksum = zlib.crc32(np.memmap(aside, np.uint8, mode="r"))
        file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))


def read_array(path: str | os.PathLike, mapped: bool = False) -> np.ndarray:
    """Reads what `write_array` wrote, after a look at every byte of it.

    Args:
        mapped: Whether the array stays on disk.
    Raises:
        FileNotFoundError: There is no such file.
        DamagedArray: It is not what was written.
    """
    if os.path.getsize(path) <= _CHECKSUM_BYTES:
        raise DamagedArray(f"{path} is cut off")
    content = np.memmap(path, np.uint8, mode="r")
    checksum = int.from_bytes(content[-_CHECKSUM_BYTES:].tobytes(), "little")
    if zlib.crc32(content[:-_CHECKSUM_BYTES]) != checksum:
        raise DamagedArray(f"{path} does not have the checksum that it was kept with")
    array = map_npy(path)
    return array if mapped else np.array(array)


def map_npy(path: str | os.PathLike) -> np.ndarray:
    """Returns the array of any .npy file, which stays on disk; threads may call it.

    Raises:
        ValueError, EOFError, OSError: It is no .npy file, or has other things than
            numbers.
    """
    try:
        with _one_parses:
            return np.lib.format.open_memmap(path, mode="r")
    except tokenize.TokenError as error:
        raise ValueError(f"its header is damaged ({error})") from error
