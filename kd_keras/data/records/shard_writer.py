"""Writes prepared data, shard by shard: each whole or not there, none made twice.

A shard is written aside and renamed, then described in a small file of its own; at the
end the index takes in all descriptions. So a kill at any moment costs the shards that
were being written and no more, and the folder ends with the bytes that an uninterrupted
run gives.
"""

import concurrent.futures
import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from kd_keras.data import exclusive, remote
from kd_keras.data.parallel import num_cores, progress_bar
from kd_keras.data.records import shards

# Records that are made to estimate the size of all.
_NUM_SAMPLED = 8


@dataclasses.dataclass
class ShardContents:
    """The records of one shard as they are made.

    Attributes:
        records: Yields (key, bytes), in an order that the keys alone decide.
        left_out: Reason by name of what could not be read, complete at the end.
    """

    records: Iterable[tuple[list, bytes]]
    left_out: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """The work of one shard, for any process that sees the same files.

    Attributes:
        folder: Of the shards, local or remote.
        name: Of the shard's file.
        keys: Of its records, in order.
        make: Makes the records of the keys.
    """

    folder: str | os.PathLike
    name: str
    keys: Sequence
    make: Callable[[Sequence], ShardContents]

    def run(self) -> shards.Shard:
        """Writes the shard and the small file that describes it."""
        shard = _write_shard(self.folder, self.name, self.make(self.keys))
        _write_json(_description(self.folder, self.name), dataclasses.asdict(shard))
        return shard


def in_threads(jobs: Sequence[ShardJob]) -> Iterator[shards.Shard]:
    """Runs jobs in this process, one thread per core; yields shards as they end."""
    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        futures = [pool.submit(job.run) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def sampled_sizes(
    shard_keys: Sequence[Sequence], make: Callable[[Sequence], ShardContents]
) -> Iterator[int]:
    """Yields the bytes of some records that lie evenly among all.

    Args:
        shard_keys, make: As in `write_shards`.
    Raises:
        ValueError: After the last, if none of them can be made.
    """
    keys = [key for some in shard_keys for key in some]
    chosen = np.linspace(0, len(keys) - 1, min(len(keys), _NUM_SAMPLED)).astype(int)
    found = False
    for number in chosen:
        for _, record in make([keys[number]]).records:
            found = True
            yield len(record)
    if not found:
        raise ValueError("None of the clips that were tried can be read.")


def write_shards(
    folder: str | os.PathLike,
    shard_keys: Sequence[Sequence],
    make: Callable[[Sequence], ShardContents],
    *,
    kind: str,
    fingerprint: Mapping,
    rerun_command: str,
    expected_bytes: int,
    files: Mapping[str, bytes] = {},
    verify: bool = False,
    progress: bool = True,
    run_jobs: Callable[[Sequence[ShardJob]], Iterator[shards.Shard]] = in_threads,
    note_left_out: Callable[[Mapping[str, str]], None] = lambda left_out: None,
) -> shards.Shards:
    """Writes what is missing of a folder of shards and returns its reader.

    Args:
        folder: Local or remote; made if it is missing.
        shard_keys: The keys of the records of each shard, in order; tuples of strings
            and numbers.
        make: Makes the records of the keys of a shard; called from several threads.
        kind: What the records are; begins the names of the shards.
        fingerprint: Values by name that decide what is written; a folder that was made
            from other values is refused.
        rerun_command: The command that continues and mends the folder, with `{folder}`
            in place of its path.
        expected_bytes: Size of all shards, for the message and the check of the disk.
        files: Contents of other files of the folder, by name.
        verify: Compare the finished shards with their checksums, and make those that
            differ again.
        progress: Show how far it is.
        run_jobs: Runs the jobs of the missing shards, here or elsewhere, and yields
            each shard when it is written.
        note_left_out: Told of each shard what could not be read, reason by name; may
            raise an error to stop.
    Raises:
        StaleRecords: The folder holds other data.
        OSError: The disk has less room than is needed, or another process writes here.
    """
    names = [_shard_name(kind, k, len(shard_keys)) for k in range(len(shard_keys))]
    with exclusive.exclusive_lock(folder):
        _remove_left_aside(folder)
        fingerprint = {
            "kind": kind,
            **fingerprint,
            "records": shards.digest(shard_keys),
        }
        index = _begin(folder, fingerprint, rerun_command)
        finished = _finished(folder, index, names, verify)
        missing = [k for k, name in enumerate(names) if name not in finished]
        num_records = dict(zip(names, map(len, shard_keys), strict=True))
        total = sum(num_records.values())
        left = sum(num_records[names[k]] for k in missing)
        _require_room(folder, expected_bytes, left / max(1, total))
        for name, content in files.items():
            remote.write_bytes(remote.join(folder, name), content)
        _write_json(remote.join(folder, shards.INDEX), index)
        bar = progress_bar(left, "record", progress)
        for shard in finished.values():
            note_left_out(shard.left_out)
        jobs = [ShardJob(folder, names[k], shard_keys[k], make) for k in missing]
        with (
            _room_explained(folder, expected_bytes),
            contextlib.closing(run_jobs(jobs)) as written,
        ):
            for shard in written:
                finished[shard.name] = shard
                note_left_out(shard.left_out)
                bar.add(num_records[shard.name])
        index["complete"] = True
        index["shards"] = [dataclasses.asdict(finished[name]) for name in names]
        _write_json(remote.join(folder, shards.INDEX), index)
        for name in names:
            remote.remove(_description(folder, name))
        # Of processes elsewhere that died.
        _remove_left_aside(folder)
    return shards.Shards(folder)


def _remove_left_aside(folder):
    for left in remote.left_aside(folder):
        left.unlink(missing_ok=True)


def _begin(folder, fingerprint, rerun_command):
    """The index that the folder has, or a new one."""
    index = shards.read_index(folder)
    if index is not None:
        shards.check_fingerprint(folder, index, fingerprint)
        return index
    return {
        "format_version": shards.FORMAT_VERSION,
        "complete": False,
        "remake": rerun_command,
        "made_from": json.loads(json.dumps(fingerprint)),
        "shards": [],
    }


def _finished(folder, index, names, verify):
    """The shards that need no work, by name."""
    found = {shard["name"]: shards.Shard(**shard) for shard in index["shards"]}
    for name in names:
        path = _description(folder, name)
        if not remote.exists(path):
            continue
        try:
            found[name] = shards.checked_shard(json.loads(remote.read_bytes(path)))
        except (ValueError, TypeError) as error:
            print(f"{path} is damaged ({error!r}); its shard is made again.")
            found.pop(name, None)
    kept = {}
    for name, shard in found.items():
        if verify:
            problem = shards.difference(folder, shard)
        elif remote.size(remote.join(folder, name)) == shard.size:
            problem = None
        else:
            problem = "is not what was written"
        if problem is None:
            kept[name] = shard
        else:
            print(f"{remote.join(folder, name)} {problem}; it is made again.")
    return kept


def _description(folder, name):
    return remote.join(folder, f".{name}.json")


def _shard_name(kind, number, total):
    return f"{kind}-{number:05d}-of-{total:05d}.tfrecord"


def _write_shard(folder, name, made):
    """Writes one shard aside and gives it its name."""
    import tensorflow as tf

    keys, lengths, checksums = [], [], []
    with remote.written_aside(remote.join(folder, name)) as aside:
        with tf.io.TFRecordWriter(os.fspath(aside)) as writer:
            for key, record in made.records:
                writer.write(record)
                keys.append(list(key))
                lengths.append(len(record))
                checksums.append(zlib.crc32(record))
        with aside.open("rb") as file:
            os.fsync(file.fileno())
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = aside.stat().st_size
    return shards.Shard(
        name, sha256, size, keys, lengths, checksums, dict(made.left_out)
    )


def _write_json(path, value):
    content = json.dumps(value, separators=(",", ":"), sort_keys=True)
    remote.write_bytes(path, content.encode())


def _require_room(folder, expected_bytes, fraction_left):
    """Says the size, and stops where the disk has less room."""
    needed = int(expected_bytes * fraction_left)
    text = f"{folder}: about {expected_bytes / 1e9:.3f} GB"
    if fraction_left < 1:
        text += f", {needed / 1e9:.3f} GB of it still to be written"
    if remote.is_remote(folder):
        print(text, flush=True)
        return
    free = shutil.disk_usage(folder).free
    print(f"{text}; {free / 1e9:.3f} GB are free.", flush=True)
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{folder}: {needed / 1e9:.3f} GB are needed, {free / 1e9:.3f} GB are "
            "free. Free some room or prepare another folder",
        )


@contextlib.contextmanager
def _room_explained(folder, expected_bytes):
    """Says how much is needed and free if the disk fills up during the work."""
    import tensorflow as tf

    try:
        yield
    except (OSError, tf.errors.ResourceExhaustedError) as error:
        is_full = getattr(error, "errno", None) == errno.ENOSPC
        if not (is_full or isinstance(error, tf.errors.ResourceExhaustedError)):
            raise
        free = shutil.disk_usage(folder).free
        raise OSError(
            errno.ENOSPC,
            f"The disk of {folder} is full: about {expected_bytes / 1e9:.3f} GB are "
            f"needed in all, {free / 1e9:.3f} GB are free. What is finished is kept; "
            "the same command continues",
        ) from error
