"""Reads shards of records: checked, at random, from a disk or an object store.

A folder of prepared data holds TFRecord files and an `index.json` that says what made
them, which records they hold and where, and their checksums (`shard_writer` writes it).
"""

import dataclasses
import functools
import hashlib
import json
import os
import shlex
import threading
import zlib

from kd_keras.data import remote

FORMAT_VERSION = 1
INDEX = "index.json"

# A TFRecord frames its bytes: length and its checksum before, a checksum after.
HEAD_BYTES, TAIL_BYTES = 12, 4


class StaleRecords(ValueError):
    """Prepared data that something else made, or another version of the format."""


class CorruptShard(ValueError):
    """A shard whose bytes are not those that were written."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """A finished file of records.

    Attributes:
        name: Of the file, in its folder.
        sha256: Of the whole file.
        size: Of the whole file, in bytes.
        keys: What each record is of; lists of strings and numbers.
        lengths: Bytes of each record.
        checksums: CRC-32 of each record.
        left_out: Reason by name of what could not be read.
    """

    name: str
    sha256: str
    size: int
    keys: list
    lengths: list
    checksums: list
    left_out: dict


class Shards:
    """The records of a folder, by key.

    Args:
        folder: Local or remote.
        fingerprint: What the records have to be made from: values by name, such as
            flags, of which those given must equal the index's. None takes any.
    Attributes:
        fingerprint: What the index says.
        left_out: Reason by name of what could not be read.
    Raises:
        StaleRecords: The index differs from `fingerprint`, names the differing keys.
        ValueError: There is no index, or the preparation was interrupted.
    """

    def __init__(self, folder, fingerprint=None):
        self.folder = folder
        index = read_index(folder)
        if index is None:
            raise ValueError(
                f"{folder} holds no {INDEX}: nothing was prepared there. Run "
                f"python -m train.prepare --output={folder} first."
            )
        self._rerun_command = index["remake"]
        check_fingerprint(folder, index, fingerprint, only_given=True)
        if not index["complete"]:
            raise ValueError(
                f"The preparation of {folder} is not finished. Continue it: "
                f"{self.command()}"
            )
        self.fingerprint = index["made_from"]
        self.shards = [Shard(**shard) for shard in index["shards"]]
        self.left_out = {}
        self._places = {}
        for shard in self.shards:
            self.left_out |= shard.left_out
            start = 0
            for number, key in enumerate(shard.keys):
                self._places[_hashable(key)] = shard, number, start + HEAD_BYTES
                start += HEAD_BYTES + shard.lengths[number] + TAIL_BYTES
        self._open = threading.local()

    def __len__(self):
        return len(self._places)

    def __contains__(self, key):
        return _hashable(key) in self._places

    def keys(self):
        """The keys of all records, as tuples."""
        return self._places.keys()

    def read(self, key) -> bytes:
        """The record of this key; may be called from several threads.

        Raises:
            CorruptShard: Its bytes changed; names the shard and what mends it.
            KeyError: There is no such record.
        """
        shard, number, start = self._places[_hashable(key)]
        try:
            content = self._read(shard.name, start, shard.lengths[number])
        except FileNotFoundError as error:
            raise CorruptShard(self._corrupt(shard, "is missing")) from error
        if zlib.crc32(content) != shard.checksums[number]:
            raise CorruptShard(
                self._corrupt(shard, f"is corrupt: record {number} has changed")
            )
        return content

    def place(self, key) -> tuple[str, int]:
        """The file of a record, and the byte at which its frame begins."""
        shard, _, start = self._places[_hashable(key)]
        return remote.join(self.folder, shard.name), start - HEAD_BYTES

    def verify(self):
        """Yields the (shard, message) whose file is not what was written."""
        for shard in self.shards:
            problem = difference(self.folder, shard)
            if problem is not None:
                yield shard, self._corrupt(shard, problem)

    def command(self) -> str:
        """The command that prepared the folder, with what mends and continues it."""
        return self._rerun_command.replace(
            "{folder}", shlex.quote(os.fspath(self.folder))
        )

    def _read(self, name, start, length):
        path = remote.join(self.folder, name)
        if not remote.is_remote(self.folder):
            # Held while it is read: the cache closes what it lets go.
            file = _opened(path, os.stat(path).st_mtime_ns)
            return os.pread(file.number, length, start)
        files = self._open.__dict__.setdefault("files", {})
        if name not in files:
            import tensorflow as tf

            remote.require_file_system(path)
            files[name] = tf.io.gfile.GFile(path, "rb")
        files[name].seek(start)
        return files[name].read(length)

    def _corrupt(self, shard, problem):
        path = remote.join(self.folder, shard.name)
        return f"{path} {problem}. Make it again: {self.command()}"


def read_index(folder) -> dict | None:
    """The content of a folder's index; None if there is none.

    Raises:
        StaleRecords: It is of another version, or damaged.
    """
    path = remote.join(folder, INDEX)
    if not remote.exists(path):
        return None
    try:
        index = json.loads(remote.read_bytes(path))
        version = index["format_version"]
        if version == FORMAT_VERSION:
            _check_index(index)
            return index
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StaleRecords(
            f"{path} is no index of prepared data ({error!r}). Delete {folder} and "
            "prepare it again."
        ) from error
    raise StaleRecords(
        f"{path}: format_version is {version}, this program reads {FORMAT_VERSION}. "
        "Prepare the data again into another folder."
    )


def _check_index(index):
    """Raises a ValueError, KeyError or TypeError at values that were never written."""
    kinds = {"complete": bool, "remake": str, "made_from": dict, "shards": list}
    for name, kind in kinds.items():
        _require(isinstance(index[name], kind), name, index[name])
    for values in index["shards"]:
        checked_shard(values)


def checked_shard(values) -> Shard:
    """A shard from the values that its description or the index has.

    Raises:
        ValueError, TypeError: They are not what is written there.
    """
    shard = Shard(**values)
    for field in dataclasses.fields(Shard):
        value = getattr(shard, field.name)
        _require(isinstance(value, field.type), field.name, value)
    _require(os.path.basename(shard.name) == shard.name, "name", shard.name)
    counts = {len(shard.keys), len(shard.lengths), len(shard.checksums)}
    _require(len(counts) == 1, "number of keys, lengths and checksums", counts)
    for number in (shard.size, *shard.lengths, *shard.checksums):
        _require(type(number) is int and 0 <= number < 2**63, "number", number)
    framed = sum(shard.lengths) + len(shard.keys) * (HEAD_BYTES + TAIL_BYTES)
    _require(framed == shard.size, f"size of {shard.name}", shard.size)
    for key in shard.keys:
        parts = key if isinstance(key, list) else [key]
        _require(all(isinstance(k, str | int | float) for k in parts), "key", key)
    return shard


def _require(holds, name, value):
    if not holds:
        raise ValueError(f"its {name} is {value!r:.100}")


def check_fingerprint(folder, index, fingerprint, only_given=False):
    """Raises StaleRecords unless the index was made from these values."""
    if fingerprint is None:
        return
    found, wanted = index["made_from"], json.loads(json.dumps(fingerprint))
    differing = [
        f"{name} was {found.get(name)!r}, now {wanted.get(name)!r}"
        for name in (wanted if only_given else sorted({*found, *wanted}))
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise StaleRecords(
            f"{folder} was made from other things: {'; '.join(differing)}. Give the "
            "flags that it was made with, or prepare another folder."
        )


def difference(folder, shard: Shard) -> str | None:
    """How a shard's file differs from what was written; None if it does not."""
    path = remote.join(folder, shard.name)
    size = remote.size(path)
    if size is None:
        return "is missing"
    if size != shard.size:
        return f"is corrupt: it has {size} bytes of {shard.size}"
    if checksum(path) != shard.sha256:
        return "is corrupt: its SHA-256 has changed"
    return None


def corruption(error, folder=None) -> str | None:
    """What a corrupt shard made tf.data raise; None if something else did.

    Args:
        error: The `tf.errors.OpError`.
        folder: Of the records that were read, if any.
    """
    import tensorflow as tf

    # Around what its Python functions raise it puts the traceback.
    for line in error.message.splitlines():
        if f"{CorruptShard.__name__}: " in line:
            return line.split(f"{CorruptShard.__name__}: ")[1]
    # What reads for a data service does not know the names of the shards.
    if folder is not None and isinstance(error, tf.errors.DataLossError):
        for _, message in Shards(folder).verify():
            return message
    return None


def checksum(path) -> str:
    """SHA-256 of a file."""
    if remote.is_remote(path):
        return hashlib.sha256(remote.read_bytes(path)).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value) -> str:
    """A short name of a value that JSON can hold; other values have other names."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=512)
def _opened(path, changed_ns):
    return _File(path)


class _File:
    """A descriptor that is closed when it is no longer used."""

    def __init__(self, path):
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self):
        os.close(self.number)


def _hashable(key):
    return tuple(key) if isinstance(key, list | tuple) else key
