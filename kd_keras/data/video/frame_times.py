"""Which frames of a video stand for an interval of it: arithmetic on their times."""

import numpy as np

SHORT_CLIPS = ("resample", "loop", "pad_last", "error")

# Float error in a sampled time.
_TIME_ERROR_S = 1e-6
# Matroska and FLV round the times of frames to milliseconds.
_ROUNDING_S = 0.51e-3


def frame_indices(
    times_s: np.ndarray,
    duration_s: float,
    start_s: float,
    end_s: float,
    num_frames: int,
    short_clip: str = "resample",
    begins_s: float | None = None,
    spacing_s: float | None = None,
) -> np.ndarray:
    """Chooses the frames that stand for the interval [start_s, end_s) of a video.

    The interval is cut into `num_frames` equal parts and each part gives the frame
    that is on screen in its middle. Of an interval that holds m frames at a constant
    rate that is frame floor((k + 0.5) m / num_frames) of the interval. Before the
    first frame that frame is on screen, after the video ends the last one.

    No frame at or after `end_s` is ever returned, unless the video starts after it.

    Args:
        times_s: Ascending presentation times.
        duration_s: Of the video. Frames are spaced by duration_s / frames when there
            is only one.
        short_clip: What an interval with m < num_frames frames gives: "resample" as
            above, "loop" its frames again and again, "pad_last" its frames and then
            the last one, "error" a ValueError. The time before the first frame counts
            as first frames at the median spacing.
        begins_s: When the video's pictures begin; None is the first of `times_s`.
        spacing_s: `median_spacing(times_s)`, if it is known already.
    Returns:
        int64 positions (num_frames,).
    """
    if not end_s > start_s:
        raise ValueError(
            f"A clip must end after it starts. Got start_s={start_s}, end_s={end_s}."
        )
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1. Got {num_frames}.")
    if short_clip not in SHORT_CLIPS:
        raise ValueError(
            f"short_clip must be one of {SHORT_CLIPS}. Got {short_clip!r}."
        )
    if spacing_s is None:
        spacing_s = median_spacing(times_s)
    spacing_s = spacing_s or duration_s
    rounding_s = min(_ROUNDING_S, spacing_s / 4)
    # The last frame before the end; the frame at the end belongs to what follows.
    after = np.searchsorted(times_s, end_s - rounding_s, "left")
    last = max(after - 1, 0)
    if short_clip != "resample":
        first = np.searchsorted(times_s, start_s - rounding_s, "left")
        inside = np.arange(first, after)
        begins_s = times_s[0] if begins_s is None else begins_s
        if start_s < begins_s:
            padding_s = min(end_s, begins_s) - start_s
            inside = np.pad(inside, (int(padding_s / spacing_s + 0.5), 0))
        if len(inside) < num_frames:
            return _short(inside, last, num_frames, short_clip, start_s, end_s)
    middles = start_s + (np.arange(num_frames) + 0.5) * ((end_s - start_s) / num_frames)
    shown = np.searchsorted(times_s, middles + _TIME_ERROR_S, "right") - 1
    return np.clip(shown, 0, last).astype(np.int64)


def median_spacing(times_s):
    """Seconds from one frame to the next; 0 if there is only one."""
    return float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0


def _short(inside, last, num_frames, short_clip, start_s, end_s):
    if short_clip == "error":
        raise ValueError(
            f"The clip [{start_s:g}, {end_s:g}) s holds {len(inside)} frames, fewer "
            f"than num_frames={num_frames}. Choose short_clip='resample', 'loop' or "
            "'pad_last', or a smaller num_frames."
        )
    if not len(inside):
        inside = np.array([last])
    position = np.arange(num_frames)
    if short_clip == "loop":
        position %= len(inside)
    return inside[np.minimum(position, len(inside) - 1)].astype(np.int64)
