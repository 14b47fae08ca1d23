"""Runs a command, and ends it some time after its work has begun."""

import pathlib
import signal
import subprocess
import time

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(command, begins, kind=signal.SIGKILL, after_s=None):
    """Returns the status of a command, the negative signal if one ended it.

    Args:
        command: Program and arguments; the folder is the checkout.
        begins: A part of the line that says that the work begins. The imports before it
            take seconds.
        kind: The signal.
        after_s: Seconds after that line; None lets the command end by itself.
    """
    with subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        text = b""
        if after_s is not None:
            for line in process.stdout:
                text += line
                if begins in line:
                    break
            time.sleep(after_s)
            process.send_signal(kind)
        text += process.stdout.read()
    status = process.returncode
    if status > 0 and (after_s is None or kind == signal.SIGKILL):
        print(text.decode(errors="replace"))
    return status
