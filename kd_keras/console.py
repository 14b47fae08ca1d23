"""Keeps lines that are about nobody's problem off the console.

TensorFlow greets everybody with lines about CUDA, TensorRT and XLA, some of them as
errors, which no setting of its own leaves out without hiding real errors too. This
file, run as a program, is the filter that reads them.
"""

import contextlib
import os
import re
import subprocess
import sys

# Lines of a healthy machine. Everything else is shown.
_NOISE = re.compile(
    rb"Unable to register cu\w+ factory"
    rb"|Could not find cuda drivers"
    rb"|failed call to cuInit: (?:CUDA_ERROR_NO_DEVICE|UNKNOWN ERROR \(303\))"
    rb"|cuda_diagnostics\.cc"
    rb"|computation_placer already registered"
    rb"|binary is optimized to use available CPU instructions"
    rb"|^To enable the following instructions:"
    rb"|oneDNN custom operations are on"
    rb"|TF-TRT Warning: Could not find TensorRT"
    rb"|All log messages before absl::InitializeLog\(\) is called"
    rb"|service\.cc:\d+\] +(?:XLA service \w+ initialized|StreamExecutor device)"
    rb"|device_compiler\.h:\d+\] Compiled cluster using XLA!"
)


@contextlib.contextmanager
def without_noise():
    """Context manager: what is written to standard error passes through a filter.

    The filter is a process of its own, so that the last words of a crash still come
    through. Without standard error, or if no process can be started, nothing changes.
    """
    sys.stderr.flush()
    try:
        shown = os.dup(2)
        reader = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE
        )
    except OSError:
        yield
        return
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(shown, 2)
        os.close(shown)
        # Processes that were started meanwhile may still hold the other end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            reader.wait(timeout=5)


def import_tensorflow():
    """Imports TensorFlow; its information and warnings stay unsaid, errors do not."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with without_noise():
        import tensorflow as tf
    return tf


def _filter():
    # The command gets Ctrl-C as well, and may have something to say about it.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin.buffer:
        if not _NOISE.search(line):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


if __name__ == "__main__":
    _filter()
