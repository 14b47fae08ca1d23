"""A Dask scheduler and workers as processes of this machine.

python -m tests.loopback_dask ADDRESS PAUSE_S  runs a worker that pauses in each record.
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
def processes(num_workers, pause_s=0.0):
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
            _start(stack, ["tests.loopback_dask", str(file), str(pause_s)])
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


def main():
    from distributed.cli import dask_worker

    from tests import slow_preparation

    file, pause_s = sys.argv[1:]
    slow_preparation.slow_down(float(pause_s))
    # A nanny would start the worker in another process, and again.
    flags = ["--no-nanny", "--nthreads=1", "--no-dashboard", "--host=127.0.0.1"]
    dask_worker.main([f"--scheduler-file={file}", *flags])


if __name__ == "__main__":
    main()
