"""What a training asks of the folder that keeps its metrics and its state."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol


class PhaseFolder(Protocol):
    """A folder of a run. `RunDirectory` is one."""

    def __truediv__(self, name: str) -> pathlib.Path:
        """The path of a file in it."""

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Adds a line to the metrics."""

    def history(self, phase: str) -> Iterable[Mapping[str, Any]]:
        """The lines of a phase, each with its "step", in order."""

    def forget_after(self, phase: str, step: int) -> None:
        """Drops the lines of a phase after a step."""

    def record_time(self, part: str, seconds: float, waiting_s: float) -> None:
        """Records what a part took, and how much of it was waiting for data."""

    def push(self) -> None:
        """Copies what is new to where the run is kept, if that is elsewhere."""
