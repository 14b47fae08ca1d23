"""SIGTERM, SIGINT and SIGHUP end a training after its step, anything else at once."""

import contextlib
import signal
import sys
import types
from collections.abc import Iterator
from typing import Any, NoReturn, Self

# A terminal that is closed sends SIGHUP.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(SystemExit):
    """A signal ended the run. The exit status is 128 + the signal, as shells expect.

    Args:
        number: The signal.
        said: What became of the work.
    """

    code: int

    def __init__(self, number: int, said: str) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)
        self.message = f"{self.signal.name}: {said} The same command continues the run."


class Interruption:
    """Catches the signals while it is entered.

    Outside of `deferred`, a signal raises `Interrupted` at once. What is on disk is
    complete, and the next run repeats what was not finished. Inside of `deferred`, the
    signal is noted in `signal`, and the training ends after its step. A SIGINT
    that follows ends the process at once in both cases. Under `nohup` a run goes on
    after its terminal is closed.

    Attributes:
        signal: Number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._deferred = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            # As `nohup` has it.
            ignored = signal.getsignal(number) == signal.SIG_IGN
            if number != signal.SIGHUP or not ignored:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def deferred(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which a signal is noted instead of raised."""
        return self._mode(deferred=True)

    def at_once(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context in which a signal is raised, also inside of `deferred`."""
        return self._mode(deferred=False)

    def stop(self, said: str) -> NoReturn:
        """Ends the run for the signal that was noted, here or by another worker."""
        number = signal.SIGTERM if self.signal is None else self.signal
        raise Interrupted(number, said)

    def _handle(self, number: int, _: types.FrameType | None) -> None:
        # Python handles a signal only between two of its instructions. The default
        # action also ends the process in the middle of a long one.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.signal = number
        if self._deferred:
            name = signal.Signals(number).name
            print(f"\n{name}: saving after this step.", file=sys.stderr, flush=True)
        else:
            self.stop("Stopped; nothing that was finished is lost.")

    @contextlib.contextmanager
    def _mode(self, deferred: bool) -> Iterator[None]:
        before, self._deferred = self._deferred, deferred
        try:
            yield
        finally:
            self._deferred = before
