"""Keeps lines off the console that are nobody's problem.

TensorFlow greets everybody with lines about CUDA, TensorRT and XLA, some of them as
errors, which no setting of its own leaves out without hiding real errors too. This
file, run as a program, is the filter that reads them.
"""

import contextlib
import errno
import os
import re
import subprocess
import sys

# Lines of a healthy machine. Everything else is shown.
_NOISE = re.compile(
    rb"Unable to register cu\w+ factory"
    rb"|Could not find cuda drivers"
    rb"|[Ff]ailed call to cuInit: (?:CUDA_ERROR_NO_DEVICE|UNKNOWN ERROR \(303\))"
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
    try:
        shown = os.dup(2)
        reader = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            # Ctrl-C is for the command, which may have something to say about it.
            start_new_session=True,
        )
    except OSError:
        yield
        return
    _flush()
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    try:
        yield
    finally:
        _flush()
        os.dup2(shown, 2)
        os.close(shown)
        # Processes that were started meanwhile may still hold the other end.
        with contextlib.suppress(subprocess.TimeoutExpired):
            reader.wait(timeout=5)


@contextlib.contextmanager
def reader_may_leave():
    """Context manager: a command goes on if nobody reads what it prints any more.

    Ctrl-C also ends the `tee` of `COMMAND | tee log`, and a terminal may be closed. The
    command may have something to save then, which a print that fails must not keep it
    from.
    """
    printed = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and _Unbroken(stream) for stream in printed)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = printed


class _Unbroken:
    """A stream whose text goes nowhere as soon as its reader is gone."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text):
        try:
            return self._stream.write(text)
        except OSError as error:
            self._write_nowhere(error)
            return len(text)

    def flush(self):
        try:
            self._stream.flush()
        except OSError as error:
            self._write_nowhere(error)

    def _write_nowhere(self, error):
        # Of a pipe, and of a terminal.
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise error
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())


def quieted(text):
    """Returns what another process wrote, without the lines that concern nobody."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not _NOISE.search(line.encode()))


def import_tensorflow():
    """Imports TensorFlow; its information and warnings stay unsaid, errors do not."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with without_noise():
        import tensorflow as tf

        # It looks for devices when it is first asked for them.
        tf.config.list_physical_devices()
    return tf


def _flush():
    # None if the command was started without standard error.
    if sys.stderr is not None:
        sys.stderr.flush()


def _filter():
    for line in sys.stdin.buffer:
        if not _NOISE.search(line):
            sys.stderr.buffer.write(line)
            sys.stderr.buffer.flush()


if __name__ == "__main__":
    _filter()
