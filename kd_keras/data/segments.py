"""Data classes of the data: labeled segments, clips, pairs, and the whole data set."""

import dataclasses

from kd_keras.data.video.info import Video, VideoInfo

TRAIN, VAL, TEST = "train", "val", "test"
PARTS = (TRAIN, VAL, TEST)
# Training videos that choose instead of training; no annotations name it.
HELD_OUT = "held_out"
# Why rows are in `Index.dropped` that say the same as another.
REPEATED_ROWS = "repeated rows"


@dataclasses.dataclass(frozen=True)
class Segment:
    """An annotated interval [start_s, end_s) of a video.

    `label` None is a segment that is known to have no label, or, with `withheld`, an
    action whose label training may not use. `uid` is what the annotations call the
    segment: lists of pairs carry it.
    """

    video: str
    start_s: float
    end_s: float
    label: str | None
    withheld: bool = False
    uid: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Index:
    """What a data set holds: the videos that can be read and their segments.

    Attributes:
        classes: Class names; the position is the class index.
        videos: By name. Unreadable videos are not among them.
        durations_s: Seconds, by video name.
        segments: In the order of the annotations; none of an unreadable video.
        bad_videos: Reason by name of each video that was skipped.
        infos: What `probe` found out, by video name: the times of the frames, in
            which an observed fraction is counted, and what reading them needs. A
            data set whose annotations give the durations leaves it empty: the videos
            are then probed when they are first read.
        dropped: Rows of the annotations that were left out, by reason.
    """

    classes: tuple[str, ...]
    videos: dict[str, Video]
    durations_s: dict[str, float]
    segments: tuple[Segment, ...]
    bad_videos: dict[str, str]
    infos: dict[str, VideoInfo] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    dropped: dict[str, int] = dataclasses.field(default_factory=dict, compare=False)

    def blanks_s(self, video: str) -> tuple[tuple[float, float], ...]:
        """`VideoInfo.blanks_s` of a video; none of one that was not opened yet."""
        return self.infos[video].blanks_s if video in self.infos else ()

    def begins_s(self, video: str) -> float:
        """When the picture of a video begins, as far as is known."""
        blanks_s = self.blanks_s(video)
        return blanks_s[0][1] if blanks_s and blanks_s[0][0] == 0 else 0.0


@dataclasses.dataclass(frozen=True)
class Clip:
    """The interval [start_s, end_s) of a video, in seconds from the file's start.

    What lies before the first frame, or before 0, is padded when it is read.
    """

    video: str
    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True)
class Pair:
    """An observed clip and its future clip; `label` is a class index or None.

    `uid` is the `uid` of the segment at which the future clip lies. It is empty for a
    window of unlabeled footage.
    """

    observed: Clip
    future: Clip
    label: int | None
    uid: str = dataclasses.field(default="", compare=False)
