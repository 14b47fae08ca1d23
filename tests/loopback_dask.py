"""A Dask scheduler and workers as processes of this machine.

python -m tests.loopback_dask FILE PERMITS  runs a worker that uses up a permit for each
record: a file in the folder PERMITS. One that is named `any` is enough for all.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

_ROOT = pathlib.Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def processes(num_workers, permits):
    """Yields the file that names the scheduler; ends everything at the end."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "scheduler.json")
        flags = ["--host=127.0.0.1", "--port=0", "--no-dashboard"]
        _start(
            stack,
            ["distributed.cli.dask_scheduler", f"--scheduler-file={file}", *flags],
        )
        while not file.exists():
            time.sleep(0.1)
        for _ in range(num_workers):
            _start(stack, ["tests.loopback_dask", str(file), str(permits)])
        yield file


def _start(stack, arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=_ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)


def _take_one(permits):
    """Waits for a permit and uses it up."""
    while not (permits / "any").exists():
        for path in permits.iterdir():
            # Another worker may be faster.
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                return
        time.sleep(0.05)


def main():
    from distributed.cli import dask_worker

    from tests import slow_preparation

    file, permits = sys.argv[1:]
    slow_preparation.before_each_record(lambda: _take_one(pathlib.Path(permits)))
    # A nanny would start the worker in another process, and again.
    flags = ["--no-nanny", "--nthreads=1", "--no-dashboard", "--host=127.0.0.1"]
    dask_worker.main([f"--scheduler-file={file}", *flags])


if __name__ == "__main__":
    main()
