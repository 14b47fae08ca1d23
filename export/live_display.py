"""What is seen of a live video: a window, or a file of a constant frame rate."""

from collections.abc import Iterable, Iterator

import numpy as np

from export import annotation
from export.anticipation import TIME_ERROR_S
from export.live import LiveAnticipations


def annotated(
    frames: Iterable[tuple[float, np.ndarray]], live: LiveAnticipations, top_k: int
) -> Iterator[tuple[float, np.ndarray]]:
    """Draws the newest anticipation on each frame."""
    for time_s, frame in frames:
        newest = live.newest
        yield time_s, annotation.drawn(frame, newest and newest.first(top_k))


def at_rate(
    frames: Iterable[tuple[float, np.ndarray]], rate: float
) -> Iterator[np.ndarray]:
    """Frames at a constant rate; one is repeated, or left out, to keep the time."""
    begins_s, count, shown = None, 0, None
    for time_s, frame in frames:
        begins_s = time_s if begins_s is None else begins_s
        while shown is not None and begins_s + count / rate < time_s - TIME_ERROR_S:
            yield shown
            count += 1
        shown = frame
    if shown is not None:
        yield shown


class LiveWindow:
    """Shows frames in a window of the desktop.

    Raises:
        ValueError: If there is no desktop.
    """

    def __init__(self, title: str):
        try:
            import tkinter

            self._root = tkinter.Tk()
        except Exception as error:  # Without the package, or a display.
            raise ValueError(
                f"No window can be opened ({error}): give --headless."
            ) from error
        self._image_of = tkinter.PhotoImage
        self._root.title(title)
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self.is_closed = False
        self._root.protocol("WM_DELETE_WINDOW", self.close)

    def passing(
        self, frames: Iterable[tuple[float, np.ndarray]]
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Shows each frame and passes it on; ends when the window is closed."""
        for time_s, frame in frames:
            self._show(frame)
            if self.is_closed:
                return
            yield time_s, frame

    def close(self) -> None:
        self.is_closed = True
        self._root.destroy()

    def _show(self, frame):
        height, width = frame.shape[:2]
        header = b"P6 %d %d 255 " % (width, height)
        # Kept, because Tk does not keep it alive.
        self._image = self._image_of(data=header + frame.tobytes(), format="PPM")
        self._label.configure(image=self._image)
        self._root.update()
