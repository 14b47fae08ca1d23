"""Shows how far a training is, when it will end, and how long it waits for data."""

import datetime
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

_Batch = TypeVar("_Batch")

# A run whose steps wait for data longer than this fraction is bound by its input.
_INPUT_BOUND = 0.2


class Progress:
    """Prints the progress line of a phase, and measures where its time goes.

    Args:
        phase: What is trained.
        start: The step that the training begins at.
        steps: The step that it ends at.
        shows: False prints nothing.
    """

    def __init__(self, phase: str, start: int, steps: int, shows: bool = True) -> None:
        self._phase, self._start, self._steps, self._shows = phase, start, steps, shows
        self._waiting_s = self._computing_s = 0.0
        self._waited_s = 0.0
        self._begin_s = self._shown_s = time.perf_counter()
        # A log file gets a new line now and then, a terminal one line that changes.
        self._moves = sys.stdout.isatty()
        self._interval_s = 0.5 if self._moves else 20.0
        if shows:
            print(f"{phase}: {steps - start} steps", flush=True)

    def timed(self, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        """Yields the batches. Making one counts as waiting, using it as computing."""
        batches = iter(batches)
        while True:
            begin_s = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                return
            ready_s = time.perf_counter()
            yield batch
            self._waiting_s += ready_s - begin_s
            self._waited_s += ready_s - begin_s
            self._computing_s += time.perf_counter() - ready_s

    def is_due(self) -> bool:
        """Returns whether it is time to show something."""
        return time.perf_counter() - self._shown_s > self._interval_s

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Shows the step, when the last one will be done, and values by name."""
        self._shown_s = time.perf_counter()
        if not self._shows:
            return
        done = max(step - self._start, 1)
        left_s = (self._shown_s - self._begin_s) / done * (self._steps - step)
        left = datetime.timedelta(seconds=round(left_s))
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        line = (
            f"{self._phase} {step}/{self._steps} ({left} left): {shown}; "
            f"{100 * self.waiting():.0f} % waiting for data"
        )
        print(f"\r{line}\x1b[K" if self._moves else line, end="", flush=True)
        if not self._moves:
            print(flush=True)

    def waiting(self) -> float:
        """Returns the fraction of the time since `end_window` spent waiting."""
        total_s = self._waiting_s + self._computing_s
        return self._waiting_s / total_s if total_s else 0.0

    def totals(self) -> tuple[float, float]:
        """Returns the seconds since the beginning, and those that were waiting."""
        return time.perf_counter() - self._begin_s, self._waited_s

    def end_window(self) -> None:
        """Ends the line. Prints a hint if the last steps waited for their data."""
        if self._shows and self._moves:
            print()
        if self._shows and self.waiting() > _INPUT_BOUND:
            print(
                f"{self._phase} is input-bound: {self._waiting_s:.1f} s waiting for "
                f"data, {self._computing_s:.1f} s computing. Keep decoded clips by "
                "--cache=memory or --cache=disk, or prepare them by train.prepare.",
                flush=True,
            )
        self._waiting_s = self._computing_s = 0.0
