"""Training steps that processes of their own take, one at a time.

Each line that such a process reads is the number of a step, each line that it writes
the loss.
"""

import contextlib
import functools
import os
import subprocess
import sys


@contextlib.contextmanager
def keras_steps(names, size, **environment):
    """Context manager: functions that take steps of `training_step`, in one process.

    Args:
        names: Which of its steps.
        size: Its flags.
        **environment: Variables of the process.
    """
    take = [f"--take={name}" for name in names]
    with _process(
        ["benchmarks.training_step", *take, *size], environment
    ) as step_number:
        yield [functools.partial(step_number, number) for number in range(len(names))]


@contextlib.contextmanager
def torch_step(size, *layout):
    """The step of `torch_step`, with flags for the layout of memory."""
    with _process(
        ["benchmarks.torch_step", *layout, *size], {"KERAS_BACKEND": "torch"}
    ) as step_number:
        yield functools.partial(step_number, 0)


def serve(*steps):
    """Takes the step that each line of standard input numbers; prints its loss."""
    for line in sys.stdin:
        print(steps[int(line)](), flush=True)


@contextlib.contextmanager
def _process(command, environment):
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def step_number(number):
        print(number, file=process.stdin, flush=True)
        return float(process.stdout.readline())

    with process:
        yield step_number
        process.stdin.close()
