"""The frames that stand for an interval, against those found by hand and by laws."""

import numpy as np
import pytest

from kd_keras.data.video.frame_times import SHORT_CLIPS, frame_indices


@pytest.mark.parametrize("rate", [7, 12, 24, 25, 30, 30000 / 1001, 60])
@pytest.mark.parametrize("num_frames", [1, 3, 16, 64])
def test_an_interval_of_m_frames_is_resampled_to_the_nearest(rate, num_frames):
    times_s = np.arange(200) / rate
    for first in (0, 1, 50):
        for m in (1, 2, 3, 8, 15, 16, 17, 32, 100):
            start_s, end_s = first / rate, (first + m) / rate
            indices = frame_indices(times_s, 200 / rate, start_s, end_s, num_frames)
            nearest = [
                first + (2 * k + 1) * m // (2 * num_frames) for k in range(num_frames)
            ]
            assert indices.tolist() == nearest


@pytest.mark.parametrize("short_clip", ["resample", "loop", "pad_last"])
def test_no_frame_at_or_after_the_end_is_ever_returned(short_clip):
    rng = np.random.default_rng(0)
    for trial in range(400):
        if trial % 2:
            rate = rng.choice([12, 25, 29.97, 30, 50])
            times_s = np.arange(90) / rate
            if trial % 4 == 1:  # as Matroska rounds them
                times_s = np.round(times_s, 3)
            end_s = rng.integers(2, 90) / rate
        else:
            times_s = np.cumsum(rng.uniform(0.005, 0.2, 90))
            times_s -= times_s[0]
            end_s = rng.choice(times_s[1:])
        # The same moment, reached by other arithmetic.
        end_s = (end_s - 0.3) + 0.3 if trial % 3 else np.nextafter(end_s, 1e9)
        start_s = end_s - rng.uniform(0.01, 3)
        exact_end = int(np.abs(times_s - end_s).argmin())
        indices = frame_indices(times_s, 90 / 30, start_s, end_s, 16, short_clip)
        assert indices.dtype == np.int64 and indices.shape == (16,)
        assert (indices < max(exact_end, 1)).all() and (indices >= 0).all()
        assert (np.diff(indices) >= 0).all() or short_clip == "loop"


def test_the_frame_on_screen_is_shown_at_variable_rates():
    times_s = np.array([0, 0.1, 0.15, 0.6, 0.7])
    # Middles 0.05, 0.15, ... 0.75: by hand.
    indices = frame_indices(times_s, 0.8, 0, 0.8, 8)
    assert indices.tolist() == [0, 2, 2, 2, 2, 2, 3, 4]


def test_beyond_the_video_its_first_and_last_frames_repeat():
    times_s = np.arange(10) / 10
    before = frame_indices(times_s, 1, -0.5, 0.3, 8)
    assert before.tolist() == [0, 0, 0, 0, 0, 0, 1, 2]
    after = frame_indices(times_s, 1, 0.8, 1.6, 8)
    assert after.tolist() == [8, 9, 9, 9, 9, 9, 9, 9]
    assert set(frame_indices(times_s, 1, -3, -2, 4)) == {0}
    assert set(frame_indices(times_s, 1, 5, 6, 4)) == {9}


def test_an_interval_between_two_frames_shows_the_one_before_it():
    times_s = np.arange(10.0)
    for short_clip in ("resample", "loop", "pad_last"):
        indices = frame_indices(times_s, 10, 4.2, 4.6, 3, short_clip)
        assert indices.tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("short_clip", "start_s", "expected"),
    [
        ("loop", 0.2, [2, 3, 4, 2, 3, 4, 2, 3]),
        ("pad_last", 0.2, [2, 3, 4, 4, 4, 4, 4, 4]),
        # Two frames' time before the start: the first frame, twice more.
        ("loop", -0.2, [0, 0, 0, 1, 2, 3, 4, 0]),
        ("pad_last", -0.2, [0, 0, 0, 1, 2, 3, 4, 4]),
    ],
)
def test_short_clips_are_looped_or_padded(short_clip, start_s, expected):
    times_s = np.arange(20) / 10
    indices = frame_indices(times_s, 2, start_s, 0.5, 8, short_clip)
    assert indices.tolist() == expected


@pytest.mark.parametrize("short_clip", SHORT_CLIPS)
def test_a_clip_that_is_long_enough_is_never_short(short_clip):
    times_s = np.arange(20) / 10
    indices = frame_indices(times_s, 2, 0.3, 0.9, 6, short_clip)
    assert indices.tolist() == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(short_clip="error"), "holds 6 frames, fewer than num_frames=8"),
        (dict(short_clip="repeat"), "short_clip must be one of"),
        (dict(end_s=0.3), "must end after it starts"),
        (dict(end_s=float("nan")), "must end after it starts"),
        (dict(num_frames=0), "at least 1"),
    ],
)
def test_intervals_that_make_no_sense_are_refused(changed, message):
    arguments = dict(start_s=0.3, end_s=0.9, num_frames=8) | changed
    with pytest.raises(ValueError, match=message):
        frame_indices(np.arange(20) / 10, 2, **arguments)


def test_a_clip_before_the_first_frame_has_the_frames_of_its_duration():
    times_s = np.arange(20) / 10
    chosen = frame_indices(times_s, 2.0, -1.0, 0.0, 10, short_clip="error")
    assert set(chosen) == {0}
    with pytest.raises(ValueError, match="holds 10 frames, fewer than num_frames=11"):
        frame_indices(times_s, 2.0, -1.0, 0.0, 11, short_clip="error")
