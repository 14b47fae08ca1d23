"""Frames as they arrive: from a camera, a stream of the network, or standard input."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

import av
import numpy as np

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.segments import TEST
from kd_keras.data.video import containers, pyav_frames
from kd_keras.data.video.info import Video

STANDARD_INPUT = "-"

_DEVICE_FOLDER = "/dev/"
_SCHEME = "://"
# Of a camera's number, by the start of `sys.platform`: the format, and its name.
_CAMERAS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
    "win32": ("dshow", "video={}"),
}
_TIMEOUT_S = 20.0


def is_live(video: str) -> bool:
    """Whether frames arrive by themselves: a camera, an address, or standard input."""
    return (
        video == STANDARD_INPUT
        or (video.isascii() and video.isdigit())
        or video.startswith(_DEVICE_FOLDER)
        or _SCHEME in video
    )


def can_wait(video: str) -> bool:
    """Whether the source waits for whoever reads it, as a pipe does."""
    return video == STANDARD_INPUT


def frames(
    video: str, clip_format: ClipFormat, stops: threading.Event
) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Decodes frames until the source ends or `stops` is set.

    If frames have no times, as in H.264 without a container, they are counted, and the
    rate of the stream gives their times.

    Yields:
        Seconds since the source began, which ascend even if its clock is set back; the
        frame at the size of `clip_format`; and the whole frame. Both are uint8 RGB and
        upright.
    Raises:
        ValueError: If the source cannot be opened, or breaks off.
    """
    named = Video(video, video, TEST)
    try:
        with _opened(video) as container:
            stream = containers.picture_stream(named, container)
            clock = whole = seen = None
            for time_s, frame in _timed(container, stream):
                if stops.is_set():
                    return
                if time_s is None:
                    continue
                if clock is None:
                    clock = _Clock(video, _start_s(container, time_s))
                    aspect = stream.sample_aspect_ratio
                    height, width = pyav_frames.shown_size(named, frame, aspect)
                    whole = width, height
                    seen = clip_format.resized(height, width)[::-1]
                yield (
                    clock.read(time_s),
                    pyav_frames.upright(named, frame, seen, whole),
                    pyav_frames.upright(named, frame, whole, whole),
                )
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"--video={video}: {error}. {_ADVICE}") from error


_ADVICE = (
    "Expected a camera (0 or /dev/video0), an address such as rtsp://HOST/PATH, or - "
    "for standard input in a format that can be read from its start (MPEG-TS, "
    "Matroska, or MP4 made with -movflags +faststart)."
)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one ends the process."""
    stops, before = threading.Event(), {}

    def stop(number, _):
        signal.signal(number, before[number])
        stops.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _opened(video):
    if video == STANDARD_INPUT:
        return av.open(sys.stdin.buffer, metadata_errors="replace")
    if _SCHEME in video:
        # Over UDP, packets would be lost unnoticed.
        options = {"rtsp_transport": "tcp"} if video.startswith("rtsp") else {}
        return av.open(
            video, options=options, timeout=_TIMEOUT_S, metadata_errors="replace"
        )
    platform = next((p for p in _CAMERAS if sys.platform.startswith(p)), "linux")
    kind, name = _CAMERAS[platform]
    device = name.format(video) if video.isdigit() else os.fspath(video)
    return av.open(device, format=kind, timeout=_TIMEOUT_S)


class _Clock:
    """Gives seconds since a source began, which go on if its own clock is set back.

    So it is where recordings of MPEG-TS are joined, or a camera starts again.
    """

    def __init__(self, video, start_s):
        self._video, self._start_s = video, start_s
        self._last_s, self._step_s = None, 0.0

    def read(self, time_s):
        now_s = time_s - self._start_s
        if self._last_s is not None and now_s < self._last_s:
            print(
                f"--video={self._video}: its clock was set back by "
                f"{self._last_s - now_s:.2f} s; times go on at {self._last_s:.2f} s.",
                file=sys.stderr,
            )
            # The frame follows the last one as that one followed the one before.
            self._start_s -= self._last_s + self._step_s - now_s
            now_s = self._last_s + self._step_s
        elif self._last_s is not None:
            self._step_s = now_s - self._last_s
        self._last_s = now_s
        return now_s


def _timed(container, stream):
    """Decoded frames and their times, counted if a file's would be, too."""
    is_counted = None
    for number, frame in enumerate(container.decode(stream)):
        if is_counted is None:
            guesses = containers.guesses_times(container, stream)
            is_counted = frame.time is None or guesses
        if is_counted:
            yield number / containers.rate_of_counted(stream), frame
        else:
            yield frame.time, frame


def _start_s(container, first_s):
    """When the source began: as of files, or at the first frame."""
    if container.start_time is None:
        return first_s
    return min(container.start_time / av.time_base, first_s)
