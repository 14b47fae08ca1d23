"""What preparation and training cost for many hours of video, from rates measured here.

python -m benchmarks.scale

Rates are CPU seconds of one thread, so that other work on the machine counts for
little. What is assumed stands beside the constants below and in docs/scale.md.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time

import cv2
import numpy as np

from benchmarks import prepare_video
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.records import clips as clip_records
from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.flow import flows_between
from kd_keras.data.video.info import Video

_FRAMES, _RECORDS_PER_SHARD, _VIEWS = 32, 128, 4
_FORMAT = ClipFormat(num_frames=_FRAMES, image_size=224, fit="stretch")
# float16: MaxPool3d_4a_3x3 of the student, Mixed_5c of the teacher and its reading.
_VIEW_BYTES = 2 * (8 * 14 * 14 * 480 + 2 * 4 * 7 * 7 * 1024)
# Assumed: a training step of I3D on 32 frames of 224 pixels takes 324 GFLOP per pair,
# and a GPU does 32 TFLOP/s, a tenth of what an A100 can at most; 90 % of it on many.
_PAIRS_PER_GPU_S, _EFFICIENCY = 100, 0.9


@dataclasses.dataclass(frozen=True)
class DataSet:
    """Hours of video, what it is cut into, and its frames."""

    name: str
    pairs: int
    frames: int


DATA_SETS = (
    # 67,217 rows of training and 9,668 of validation; 20 million frames of 1920x1080.
    DataSet("EPIC-KITCHENS-100, 100 h", 67_217 + 9_668, 20_000_000),
    # Assumed: 30 frames of 1920x1080 a second, and 50 pairs an hour.
    DataSet("10,000 h", 500_000, 10_000 * 3600 * 30),
)


def measure():
    """Returns CPU seconds and bytes, of a frame each, by name."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "video.mp4")
        prepare_video.generate(path)
        video = Video("video", path, TRAIN)
        info = reading.probe(video)
        count = len(info.times_s)
        rates = {"decode": _cpu_s(lambda: prepare_video.decode(path)) / count}
        shown, size = np.arange(0, count, 2), (256, 256)
        both = _cpu_s(lambda: reading.read_frames(video, info, shown, size))
        frames = list(reading.read_frames(video, info, shown, size))
    scaling = max(0, both - count * rates["decode"])
    writing = _cpu_s(lambda: [clip_records.encode_jpeg(f, 95) for f in frames])
    rates["write"] = (scaling + writing) / len(frames)
    images = [clip_records.encode_jpeg(frame, 95) for frame in frames]
    rates["frame bytes"] = np.mean([len(image) for image in images])
    buffer = np.empty((256, 256, 3), np.uint8)
    rates["read"] = _cpu_s(
        lambda: [clip_records.decode_jpeg(image, buffer) for image in images]
    ) / len(images)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames[:9]]
    for method in ("tvl1", "dis"):
        rates[method] = (
            _cpu_s(lambda m=method: flows_between(gray[:-1], gray[1:], m)) / 8
        )
    return rates


def _cpu_s(work):
    """CPU seconds of the quickest of three turns."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def rows(data_set, rates):
    """Yields what the data set costs, as (what, number)."""
    stored = 2 * data_set.pairs * _FRAMES
    clips, views = 2 * data_set.pairs, _VIEWS * data_set.pairs
    yield "clips", clips
    yield "core-hours, decoding every frame", data_set.frames * rates["decode"] / 3600
    yield "core-hours, resizing and JPEG of the clips", stored * rates["write"] / 3600
    yield "core-hours, TV-L1 of the clips", stored * rates["tvl1"] / 3600
    yield "core-hours, DIS of the clips", stored * rates["dis"] / 3600
    yield "TB of records", stored * rates["frame bytes"] / 1e12
    yield "shards of records", -(-clips // _RECORDS_PER_SHARD)
    yield f"TB of features, {_VIEWS} views", views * _VIEW_BYTES / 1e12
    yield "shards of features", -(-views // _RECORDS_PER_SHARD)
    for gpus in (8, 64):
        pairs_per_s = gpus * _PAIRS_PER_GPU_S * _EFFICIENCY
        yield f"epochs an hour, {gpus} GPUs", 3600 * pairs_per_s / data_set.pairs
        cores = pairs_per_s * 2 * _FRAMES * rates["read"]
        yield f"cores that decode JPEG for {gpus} GPUs", cores


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rates = measure()
    for name, rate in rates.items():
        unit = "kB" if name == "frame bytes" else "ms"
        print(f"{name:12}{rate / 1e3 if unit == 'kB' else 1e3 * rate:8.2f} {unit}")
    print(f"{'':42}" + "".join(f"{one.name:>28}" for one in DATA_SETS))
    for (what, one), (_, other) in zip(
        *(rows(data_set, rates) for data_set in DATA_SETS), strict=True
    ):
        print(f"{what:42}{one:28,.1f}{other:28,.1f}")


if __name__ == "__main__":
    main()
