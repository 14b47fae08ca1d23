"""Shards that the workers of a Dask cluster write, through the futures of distributed.

Dask brings the clusters: SLURM, Kubernetes, SSH and more. A worker that dies costs the
shards that it was writing: the scheduler gives them to another one.
"""

import asyncio
import concurrent.futures
import functools
import hashlib
import importlib.metadata
import io
import itertools
import json
import pathlib
import pickle
import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence

from kd_keras.data import remote
from kd_keras.data.records import shards
from kd_keras.data.records.shard_writer import ShardJob

PACKAGE = "distributed==2026.8.0"
# Long enough for a scheduler on the other side of a busy network.
_TIMEOUT_S = 10
# Jobs that the scheduler holds per thread of the workers, so that none has to wait.
_JOBS_AHEAD = 2
# What decides the bytes of a shard beside the modules of kd_keras.
_PACKAGES = ("av", "keras", "numpy", "opencv-contrib-python-headless", "tensorflow")


class Cluster:
    """The workers of a Dask scheduler: a context manager, and `run_jobs` of a writer.

    Args:
        address: Such as "tcp://host:8786", or the path of the JSON file that
            `dask scheduler --scheduler-file` writes.
    Raises:
        ValueError: distributed is missing, no scheduler answers within seconds, or
            workers have other versions than this process.
    """

    def __init__(self, address: str):
        try:
            import distributed
        except ImportError as error:
            raise ValueError(
                "--scheduler needs a package, here and on the workers: pip install "
                f"{PACKAGE}"
            ) from error
        try:
            self._address = _address(address)
            # A client that does not get through takes long to close.
            asyncio.run(asyncio.wait_for(_identity(self._address), _TIMEOUT_S))
            self._client = distributed.Client(
                self._address, timeout=_TIMEOUT_S, set_as_default=False
            )
        except Exception as error:
            reason = str(error) or f"no answer in {_TIMEOUT_S} s"
            raise ValueError(
                f"No Dask scheduler answers at --scheduler={address} ({reason}). Start "
                "one with `dask scheduler` and give the address that it prints, such "
                "as tcp://host:8786."
            ) from error

    def __enter__(self) -> "Cluster":
        try:
            self._check_environments()
        except BaseException:
            self._client.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._client.close()

    def __call__(self, jobs: Sequence[ShardJob]) -> Iterator[shards.Shard]:
        """Runs jobs on the workers; yields shards as they end.

        Raises:
            ValueError: A worker lacks files or has other versions, or a shard ends one
                worker after the other.
            OSError: The scheduler is gone.
        """
        import distributed

        waiting = iter(jobs)
        shared = self._shared(jobs[0].make.shared) if jobs else None
        futures = distributed.as_completed(loop=self._client.loop)
        names = {}

        def fill():
            for job in itertools.islice(waiting, max(0, self._room() - len(names))):
                future = self._client.submit(
                    _run, _packed(job), versions(), shared, pure=False
                )
                names[future] = job.name
                futures.add(future)

        fill()
        try:
            for future in futures:
                yield future.result()
                del names[future]
                future.release()
                fill()
        except distributed.KilledWorker as error:
            raise ValueError(
                f"{names[future]} ended the process of {error.allowed_failures + 1} "
                "workers, the last of them "
                f"{error.last_worker.address}. Its log says why; perhaps it has too "
                "little memory: start workers of fewer threads or more memory. The "
                "same command continues."
            ) from error
        except (concurrent.futures.CancelledError, asyncio.CancelledError) as error:
            raise ConnectionError(
                f"The scheduler {self._address} is gone. Start it and its workers "
                "again; the same command continues."
            ) from error
        finally:
            self._client.cancel(list(names))

    def _room(self) -> int:
        """Jobs to hand to the scheduler at a time; workers may come and go."""
        return _JOBS_AHEAD * max(1, sum(self._client.nthreads().values()))

    def _shared(self, value):
        """What all jobs share, as a future: unpickled once on each worker."""
        if value is None:
            return None
        with warnings.catch_warnings():
            # Networks have tens of megabytes, and are sent once.
            warnings.filterwarnings("ignore", "Sending large graph")
            return self._client.submit(pickle.loads, pickle.dumps(value), pure=False)

    def _check_environments(self):
        try:
            self._client.run_on_scheduler(versions)
        except Exception as error:
            raise ValueError(
                f"The scheduler {self._address} cannot import kd_keras ({error!r}). "
                "Start it in the same environment as this command."
            ) from error
        found = self._client.run(versions, on_error="return")
        for worker, have in found.items():
            if isinstance(have, Exception):
                raise ValueError(
                    f"The worker {worker} cannot run this kd_keras ({have!r}). Start "
                    "it in the same environment as this command."
                )
            _require_versions(versions(), have, worker)
        if not found:
            print(
                f"{self._address} has no workers yet; the work begins when one comes.",
                flush=True,
            )


def _address(given: str) -> str:
    """The address of a scheduler, which may stand in a file."""
    if given.endswith(".json"):
        return json.loads(pathlib.Path(given).read_bytes())["address"]
    if not given:
        raise ValueError("the address is empty")
    return given


async def _identity(address: str) -> dict:
    """What a scheduler says of itself."""
    import distributed

    arguments = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, connection_args=arguments) as scheduler:
        return await scheduler.identity()


@functools.cache
def versions() -> dict[str, str]:
    """What of this process decides the bytes of a shard: versions, by name.

    The modules of kd_keras are read once, before somebody may change them.
    """
    sources = hashlib.sha256()
    package = pathlib.Path(__file__).parents[2]
    for path in sorted(package.rglob("*.py")):
        # Where an installation keeps the command lines.
        if "_commands" not in path.parts:
            sources.update(path.relative_to(package).as_posix().encode())
            sources.update(path.read_bytes())
    found = {"kd_keras": sources.hexdigest()[:12], "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _require_versions(here: Mapping, there: Mapping, worker: str) -> None:
    differing = [
        f"{name} {there.get(name)} instead of {version}"
        for name, version in here.items()
        if there.get(name) != version
    ]
    if differing:
        raise ValueError(
            f"The worker {worker} has {', '.join(differing)}, and would write other "
            "bytes. Start it anew, in the same environment as this command."
        )


class _Pickler(pickle.Pickler):
    """Pickles a job without what all jobs share."""

    def __init__(self, file, shared):
        super().__init__(file)
        self._shared = shared

    def persistent_id(self, value):
        is_shared = self._shared is not None and value is self._shared
        return "shared" if is_shared else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, shared):
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, name):
        return self._shared


def _packed(job: ShardJob) -> bytes:
    """A job with no more than its keys need, and the paths that are seen here."""
    make = job.make.part(job.keys)
    needed = [remote.join(job.folder, shards.INDEX)]
    needed += [path for path in make.paths() if remote.exists(path)]
    file = io.BytesIO()
    packed = ShardJob(job.folder, job.name, job.keys, make)
    _Pickler(file, make.shared).dump((needed, packed))
    return file.getvalue()


def _run(packed: bytes, wanted: Mapping, shared) -> shards.Shard:
    """Runs a job on a worker."""
    import distributed

    worker = distributed.get_worker().address
    # Workers may have come after the first ones were looked at.
    _require_versions(wanted, versions(), worker)
    needed, job = _Unpickler(io.BytesIO(packed), shared).load()
    for path in needed:
        if not remote.exists(path):
            raise ValueError(
                f"The worker {worker} does not see {path}. Every worker needs the "
                "videos and --output under the paths that they have here: mount them "
                "there, or use a store such as s3://."
            )
    return job.run()
