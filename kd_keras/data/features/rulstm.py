"""Features in an LMDB with the keys of RULSTM, as they are released for EPIC-KITCHENS.

Furnari and Farinella, "What Would You Expect? Anticipating Egocentric Actions with
Rolling-Unrolling LSTMs and Modality Attention", ICCV 2019. The key of a frame is
`<video>_frame_0000000001.jpg`, its value the float32 numbers of one vector. Frames are
numbered from 1, at 30 a second as released; some may be missing.
"""

import functools
import pathlib
import threading

import numpy as np

from kd_keras.data.video.info import BadVideo

_KEY = "{}_frame_{:010d}.jpg"
_FILE = "data.mdb"
_NUMBER = np.dtype("<f4")


class RulstmStore:
    """The features of an LMDB; needs the package lmdb.

    Args:
        folder: That holds `data.mdb`.
    Raises:
        ValueError: If it cannot be opened, or its end is missing.
    """

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)
        self._database = _database(self._folder.resolve())
        self._frames, self._lock = {}, threading.Lock()

    def __reduce__(self):
        return _opened, (self._folder,)

    def path(self, name):
        return self._folder / _FILE

    def times_s(self, name, rate):
        return (self._numbers(name) - 1) / rate

    def shape(self, name):
        return self.read(name, np.array([0])).shape[1:]

    def read(self, name, indices):
        numbers = self._numbers(name)[indices]
        with self._database.begin() as transaction:
            values = [
                transaction.get(_KEY.format(name, number).encode())
                for number in numbers
            ]
        lengths = {len(value) for value in values}
        if len(lengths) > 1:
            raise BadVideo(name, "its frames have vectors of several lengths")
        if lengths.pop() % _NUMBER.itemsize:
            raise BadVideo(
                name, f"its frames have {len(values[0])} bytes, which are no float32"
            )
        return np.stack([np.frombuffer(value, _NUMBER) for value in values])

    def _numbers(self, name):
        """The numbers of a video's frames, ascending."""
        with self._lock:
            if name not in self._frames:
                self._frames[name] = np.array(list(self._find(name)), np.int64)
        if not len(self._frames[name]):
            raise BadVideo(name, f"{self._folder} has no key such as {_key(name)}")
        return self._frames[name]

    def _find(self, name):
        prefix = f"{name}_frame_".encode()
        with self._database.begin() as transaction:
            cursor = transaction.cursor()
            if not cursor.set_range(prefix):
                return
            for key in cursor.iternext(values=False):
                if not key.startswith(prefix):
                    return
                number = key[len(prefix) :].removesuffix(b".jpg")
                # Other keys, such as those with fewer digits, would not be found.
                if number.isdigit() and key == _KEY.format(name, int(number)).encode():
                    yield int(number)


@functools.lru_cache(maxsize=2)
def _opened(folder):
    """The store that another process opens once, whatever number of jobs it is sent."""
    return RulstmStore(folder)


@functools.cache
def _database(folder):
    """The database of a folder, which a process may open only once."""
    try:
        import lmdb
    except ImportError as error:
        raise ValueError(
            f"{folder} is an LMDB, and reading one needs a package: pip install lmdb"
        ) from error
    try:
        database = lmdb.open(str(folder), readonly=True, lock=False)
    except lmdb.Error as error:
        raise ValueError(f"{folder} cannot be opened as LMDB: {error}") from error
    # LMDB maps the file: to read behind its end would kill the process.
    expected = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    found = (folder / _FILE).stat().st_size
    if found < expected:
        database.close()
        raise ValueError(
            f"{folder / _FILE} is cut off: it has {found:,} of {expected:,} bytes. "
            "Copy it again."
        )
    return database


def _key(name):
    return _KEY.format(name, 1)
