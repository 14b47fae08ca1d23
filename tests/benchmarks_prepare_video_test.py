"""The benchmark of preparing videos measures both of its ways."""

import numpy as np

from benchmarks import prepare_video
from kd_keras.data.video import reading


def test_both_ways_have_a_rate_in_each_round(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (75, 48, 64, 3), np.uint8)
    reading.write_video(tmp_path / "short.mp4", frames, 25)
    rates = prepare_video.measure(tmp_path / "short.mp4", rounds=2)
    assert list(rates) == ["PyAV", "prepare"]
    assert [len(values) for values in rates.values()] == [2, 2]
    assert min(map(min, rates.values())) > 0
