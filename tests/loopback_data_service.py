"""A tf.data service: a dispatcher and workers as processes of this machine.

python -m tests.loopback_data_service COUNT  dispatches, with COUNT workers of its own.
python -m tests.loopback_data_service ADDRESS  works for the dispatcher there.
"""

import contextlib
import os
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def service(num_workers, apart=False):
    """Yields the address of a dispatcher of so many workers; ends them at the end.

    Args:
        apart: Give each worker a process of its own; a process takes seconds.
    """
    with contextlib.ExitStack() as stack:
        target = _start(stack, "0" if apart else str(num_workers))
        for _ in range(num_workers if apart else 0):
            _start(stack, target.split("://")[1])
        yield target


def _start(stack, argument):
    """Starts a process; returns the line that it prints when it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.loopback_data_service", argument],
        cwd=_ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    # Closes its output and waits for it.
    stack.enter_context(process)
    stack.callback(process.kill)
    return process.stdout.readline().strip()


def main():
    import tensorflow as tf

    service = tf.data.experimental.service
    (argument,) = sys.argv[1:]
    servers, count, address = [], 1, argument
    if argument.isdigit():
        servers.append(service.DispatchServer())
        count, address = int(argument), servers[0].target.split("://")[1]
    for _ in range(count):
        config = service.WorkerConfig(dispatcher_address=address)
        servers.append(service.WorkerServer(config))
    print(getattr(servers[0], "target", "ready"), flush=True)
    servers[0].join()


if __name__ == "__main__":
    main()
