"""Anticipates while a video arrives, and keeps up: windows are dropped, not queued.

One thread takes the frames, another asks the student. Between them waits one window at
most; a newer one takes its place. So memory does not grow however slow the student is.
"""

import collections
import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from export.anticipation import MOST_FRAMES, TIME_ERROR_S, Anticipation, as_sent, ranked
from export.student_file import ExportSpec
from kd_keras.data.video.frame_times import frame_indices


class LiveAnticipations:
    """Frames go in one by one; anticipations come out as the student has time.

    Args:
        student: An `ExportedStudent`, or what else predicts as it does.
        every_s: Seconds of video from one window to the next.
        add: Called with each anticipation, in the student's thread.
        waits: Whether a source can wait for the student: then no window is dropped.
    Attributes:
        newest: The newest anticipation; None before the first.
        dropped: How many windows the student had no time for.
        empty: How many windows were left out because no frame came in them.
    """

    def __init__(
        self,
        student: Callable[[np.ndarray], np.ndarray],
        spec: ExportSpec,
        every_s: float,
        add: Callable[[Anticipation], None],
        waits: bool = False,
    ):
        self._student, self._spec, self._add = student, spec, add
        self._every_s, self._waits = every_s, waits
        self._window = _Window(spec)
        self._due_s = self._first_s = None
        self._offered = 0
        self._place = _Place()
        self.newest, self.dropped, self.empty, self._failure = None, 0, 0, None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def follow(
        self, frames: Iterable[tuple[float, np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[float, np.ndarray]]:
        """Yields the frames that are to be shown, and anticipates beside.

        When the last one is taken, all windows are answered or left out.

        Args:
            frames: Time in seconds, ascending; the frame as the student sees it, of the
                size that `ClipFormat.resized` gives; and the one to show.
        """
        self._thread.start()
        last_s, spacings_s = 0.0, collections.deque(maxlen=MOST_FRAMES)
        try:
            for time_s, seen, shown in frames:
                if self._due_s is None:
                    self._first_s = time_s
                    self._due_s = time_s + self._spec.observed_s
                else:
                    spacings_s.append(time_s - last_s)
                self._offer(time_s)
                self._window.add(time_s, seen)
                last_s = time_s
                yield time_s, shown
            # As of a file: the last frame may have come after a pause.
            self._end(last_s + float(np.median(spacings_s or [0.0])))
        finally:
            self._place.close()
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _offer(self, now_s):
        """Hands over the windows that end before the frame of this moment."""
        if self._failure is not None:
            raise self._failure
        while now_s >= self._due_s - TIME_ERROR_S:
            if self._waits or self._window.has_new(self._due_s):
                window = (self._due_s, self._window.clip(self._due_s))
                self.dropped += self._place.put(window, self._waits)
            else:
                # After a pause there may be thousands, which show one frame standing.
                self.empty += 1
            self._offered += 1
            # Not summed up: the times of a long stream stay exact.
            self._due_s = (
                self._first_s + self._spec.observed_s + self._offered * self._every_s
            )

    def _end(self, end_s):
        if self._due_s is None:
            raise ValueError("The source gave no frames.")
        is_short = end_s < self._first_s + self._spec.observed_s - TIME_ERROR_S
        if is_short:
            # It is seen whole, as over a file.
            self._due_s = end_s
        self._offer(end_s)

    def _work(self):
        try:
            while (window := self._place.take()) is not None:
                time_s, clip = window
                (probabilities,) = self._student(clip[None])
                found = ranked(self._spec, time_s, probabilities)
                self._add(found)
                self.newest = found
        except Exception as error:
            self._failure = error
            self._place.close()


class _Window:
    """The frames of the last seconds that the student sees."""

    def __init__(self, spec):
        self._spec = spec
        self._frames = collections.deque()

    def add(self, time_s, frame):
        self._frames.append((time_s, frame))
        begins_s = time_s - self._spec.observed_s
        # The frame that is on screen when the window begins stays.
        while len(self._frames) > 1 and self._frames[1][0] <= begins_s:
            self._frames.popleft()
        # Of more, every second one is forgotten.
        if len(self._frames) > MOST_FRAMES:
            self._frames = collections.deque(list(self._frames)[::2])

    def has_new(self, end_s):
        """Whether a frame came in the window that ends then."""
        return self._frames[-1][0] >= end_s - self._spec.observed_s - TIME_ERROR_S

    def clip(self, end_s):
        """uint8 (num_frames, height, width, 3), as evaluation chooses from a file."""
        times_s = np.array([time_s for time_s, _ in self._frames])
        begins_s = end_s - self._spec.observed_s
        num_shown = np.sum(times_s >= begins_s - TIME_ERROR_S)
        clip_format = as_sent(self._spec, num_shown).clip_format
        indices = frame_indices(
            times_s,
            end_s,
            begins_s,
            end_s,
            clip_format.num_frames,
            clip_format.short_clip,
        )
        return np.stack([self._frames[i][1] for i in indices])


class _Place:
    """Holds one thing for another thread."""

    def __init__(self):
        self._change = threading.Condition()
        self._thing, self._is_closed = None, False

    def put(self, thing, waits) -> int:
        """Returns how many things were thrown away: 1 if one was still there, or 0."""
        with self._change:
            if waits:
                self._change.wait_for(lambda: self._thing is None or self._is_closed)
            dropped = self._thing is not None
            self._thing = thing
            self._change.notify_all()
            return int(dropped)

    def take(self):
        """Waits for a thing; None if there is none and the place is closed."""
        with self._change:
            self._change.wait_for(lambda: self._thing is not None or self._is_closed)
            thing, self._thing = self._thing, None
            self._change.notify_all()
            return thing

    def close(self):
        with self._change:
            self._is_closed = True
            self._change.notify_all()
