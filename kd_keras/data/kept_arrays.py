"""Arrays kept on disk: .npy files that end in a checksum, so that no damage is used."""

import os
import pathlib
import zlib

import numpy as np

from kd_keras.aside import written_aside

# A CRC-32 of all before it, little-endian. NumPy reads no further than the array.
_CHECKSUM_BYTES = 4


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


def read_array(path: str | os.PathLike, mmap_mode: str | None = None) -> np.ndarray:
    """Reads what `write_array` wrote, after a look at every byte of it.

    Args:
        mmap_mode: As `numpy.load` takes it: "r" leaves the array on disk.
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
    return np.load(path, mmap_mode, allow_pickle=False)
