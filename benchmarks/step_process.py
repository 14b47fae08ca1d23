"""Training steps that processes of their own take, one at a time.

Each line that such a process reads is a step, each line that it writes the loss.
"""

import contextlib
import os
import subprocess
import sys


@contextlib.contextmanager
def keras_step(name, size, **environment):
    """Context manager: the function that takes a step of `training_step`.

    Args:
        name: Which of its steps.
        size: Its flags.
        **environment: Variables of the process.
    """
    with _process(
        ["benchmarks.training_step", f"--take={name}", *size], environment
    ) as step:
        yield step


@contextlib.contextmanager
def torch_step(size, *layout):
    """The same of `torch_step`, with flags for the layout of memory."""
    with _process(
        ["benchmarks.torch_step", *layout, *size], {"KERAS_BACKEND": "torch"}
    ) as step:
        yield step


def serve(step):
    """Takes the step for each line of standard input, and prints what it returns."""
    for _ in sys.stdin:
        print(step(), flush=True)


@contextlib.contextmanager
def _process(command, environment):
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def step():
        print(file=process.stdin, flush=True)
        return float(process.stdout.readline())

    with process:
        yield step
        process.stdin.close()
