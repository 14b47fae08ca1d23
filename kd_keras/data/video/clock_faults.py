"""Finds recordings whose clock has faults that cannot be corrected."""

import numpy as np

from kd_keras.data.video import clocks

# No camera stands still for longer within one file.
_LONGEST_GAP_S = 24 * 3600.0
# A frame that others refer to is decoded some frames before it is shown.
_LONGEST_DELAY_FRAMES = 32


def of_packets(packets, base) -> str | None:
    """Returns what is wrong with the times of a picture stream's packets, if anything.

    Args:
        packets: With `pts` and `dts` in ticks, or None, in the order of the file.
        base: Seconds of a tick.
    """
    timed = [p for p in packets if p.dts is not None]
    decoded_s = np.array([float(p.dts * base) for p in timed])
    steps_s = np.diff(decoded_s)
    backwards = np.flatnonzero(steps_s < -clocks.DISORDER_S)
    if len(backwards):
        at_s = decoded_s[backwards[0]] - decoded_s[0]
        return (
            f"not on one clock: it goes back by {-steps_s[backwards[0]]:.2f} s at "
            f"{at_s:.2f} s, as if recordings were joined there; cut it there, or write "
            "it anew with ffmpeg"
        )
    shown_s = [p.dts if p.pts is None else p.pts for p in timed]
    shown_s = np.array([float(time * base) for time in shown_s])
    spacing_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    # Of the packet that is decoded so many later; a stopped camera leaves a gap.
    later = np.minimum(np.arange(len(timed)) + _LONGEST_DELAY_FRAMES, len(timed) - 1)
    slack_s = max(clocks.LONGEST_LEAP_S, _LONGEST_DELAY_FRAMES * spacing_s)
    strays = (shown_s > decoded_s[later] + slack_s) | (shown_s < decoded_s - slack_s)
    if not strays.any():
        return None
    first = strays.argmax()
    return (
        f"damaged: what is decoded at {decoded_s[first]:.2f} s is to be shown "
        f"{shown_s[first] - decoded_s[first]:+.2f} s from then; write it anew"
    )


def of_frames(times_s) -> str | None:
    """Returns what is wrong with the times of frames, if anything."""
    late = np.flatnonzero(np.diff(times_s, prepend=0.0) > _LONGEST_GAP_S)
    if not len(late):
        return None
    return (
        f"damaged: its clock jumps to {times_s[late[0]]:.0f} s at frame {late[0]}, "
        f"over {_LONGEST_GAP_S / 3600:.0f} h without a picture"
    )
