"""A video, what is known of it before its frames are read, or why it is bad."""

import dataclasses
import functools
import pathlib
import typing

import numpy as np

from kd_keras.data.video.clocks import PacketTimes
from kd_keras.data.video.frame_times import median_spacing
from kd_keras.data.video.image_files import ImageFiles

if typing.TYPE_CHECKING:
    from kd_keras.data.video.flow import FlowEncoding

# The longest time from one frame to the next that counts as footage: a second, or
# several frames of a recording that has few of them. Beyond it nothing was recorded.
LONGEST_STILL_S, LONGEST_STILL_FRAMES = 1.0, 4


class BadVideo(ValueError):
    """A video that cannot be used; the message is its name and the reason."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self):
        return f"{self.name}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Video:
    """One video: a file that PyAV reads, or a folder or `.tar` of numbered frames.

    Attributes:
        name: As the annotations spell it; messages and results use it.
        path: The file, the folder or the tar.
        part: `train`, `val` or `test`. A video belongs to one part only.
        frame_rate: Frames per second of a folder or tar of frames; None for a file,
            which knows the time of each of its frames.
        flow_path: Folder or `.tar` with the numbered images of its optical flow in
            `u` and `v`; None if there is none.
        flow_encoding: What those images hold; None is what I3D's weights expect.
        flow_frame_rate: Flow images per second; None is frame_rate divided by the
            encoding's stride.
        group: Videos of one group resemble each other, such as clips that were cut from
            one recording. None is a group of its own.
    """

    name: str
    path: pathlib.Path
    part: str
    frame_rate: float | None = None
    flow_path: pathlib.Path | None = None
    flow_encoding: "FlowEncoding | None" = None
    flow_frame_rate: float | None = None
    group: str | None = None

    @property
    def cluster(self) -> str:
        """The same for all videos of a group, which are drawn together or not at all.

        `hold_out` and the intervals of results draw clusters.
        """
        return f"video {self.name}" if self.group is None else f"group {self.group}"

    @property
    def paths(self) -> tuple[pathlib.Path, ...]:
        """Its file or folder, and that of its stored flow."""
        return tuple(path for path in (self.path, self.flow_path) if path is not None)


@dataclasses.dataclass(frozen=True, eq=False)
class VideoInfo:
    """What `probe` found out; reading finds its frames with it.

    Attributes:
        times_s: Presentation time of every frame, ascending, in seconds from the start
            of the file. The first may be later than 0: the sound may come earlier.
        duration_s: Time of the last frame and the median spacing of the frames.
        height: Of the picture as it is shown: turned upright, with square pixels.
        width: Of the same picture.
        stamps: What the decoder calls each frame: its timestamp, or its position
            if the container's timestamps cannot be trusted.
        by_position: The latter: frames are counted from the start of the file.
        key_frames: Positions of the frames that decoding can start at.
        key_bytes: Where in the file their packets are; -1 if unknown.
        images: The frames of a folder or a tar.
        packet_times: Of a file whose clock jumps, or that names few times; else None.
        remarks: Sentences about what is unusual in the file, with its seconds.
    """

    times_s: np.ndarray
    duration_s: float
    height: int
    width: int
    stamps: np.ndarray | None = None
    by_position: bool = False
    key_frames: np.ndarray | None = None
    key_bytes: np.ndarray | None = None
    images: ImageFiles | None = None
    packet_times: PacketTimes | None = None
    remarks: tuple[str, ...] = ()

    @functools.cached_property
    def blanks_s(self) -> tuple[tuple[float, float], ...]:
        """Intervals that show no picture of their own, ascending.

        Those are the time before the first frame, if a frame would fit into it, and
        long gaps between two frames, such as a camera that was stopped leaves.
        """
        spacing_s = median_spacing(self.times_s)
        longest_s = max(LONGEST_STILL_S, LONGEST_STILL_FRAMES * spacing_s)
        gaps = np.flatnonzero(np.diff(self.times_s) > longest_s)
        blanks = tuple(
            (float(self.times_s[i]) + spacing_s, float(self.times_s[i + 1]))
            for i in gaps
        )
        first_s = float(self.times_s[0])
        return ((0.0, first_s), *blanks) if first_s > spacing_s else blanks

    @property
    def frame_rate(self) -> float:
        """Mean frames per second of what is shown."""
        blank_s = sum(end_s - start_s for start_s, end_s in self.blanks_s)
        return len(self.times_s) / (self.duration_s - blank_s)
