"""A tf.data service: a dispatcher and workers as processes of this machine.

python -m tests.loopback_data_service [ADDRESS]  dispatches, or works for ADDRESS.
"""

import contextlib
import os
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def processes(num_workers):
    """Yields the address of a dispatcher of so many workers; ends them at the end."""
    with contextlib.ExitStack() as stack:
        target = _start(stack)
        address = target.split("://")[1]
        for _ in range(num_workers):
            _start(stack, address)
        yield target


def _start(stack, *arguments):
    """Starts a process; returns the line that it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.loopback_data_service", *arguments],
        cwd=_ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process.stdout.readline().strip()


def main():
    import tensorflow as tf

    service = tf.data.experimental.service
    if sys.argv[1:]:
        server = service.WorkerServer(
            service.WorkerConfig(dispatcher_address=sys.argv[1])
        )
        print("ready", flush=True)
    else:
        server = service.DispatchServer()
        print(server.target, flush=True)
    server.join()


if __name__ == "__main__":
    main()
