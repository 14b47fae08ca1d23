"""Speed of preparing MP4s as records, beside PyAV's bare decoding on the same cores.

python -m benchmarks.prepare_video [--video=FILE]

Bare decoding is PyAV over all frames with a thread per video and core and nothing else.
Preparing decodes the same frames, and resizes and encodes those that the clips show:
32 of every two seconds. Both are timed in turn, several times.
"""

import argparse
import concurrent.futures
import contextlib
import io
import pathlib
import shutil
import statistics
import tempfile
import time

import av
import cv2
import numpy as np

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.parallel import num_cores
from kd_keras.data.records import clips as clip_records
from kd_keras.data.records.shard_writer import write_shards
from kd_keras.data.segments import TRAIN
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video

_FORMAT = ClipFormat(num_frames=32, image_size=224, fit="stretch")
_CLIP_S = 2.0


def measure(video, rounds):
    """Returns the frames per second of each way in each round, by name."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if video is None:
            video = folder / "generated.mp4"
            generate(video)
        names = [f"video{k}" for k in range(num_cores())]
        videos = {name: Video(name, pathlib.Path(video), TRAIN) for name in names}
        infos = {name: reading.probe(one) for name, one in videos.items()}
        info = infos[names[0]]
        frames = len(info.times_s) * len(names)
        print(
            f"{len(names)} videos of {len(info.times_s)} frames, {info.width}x"
            f"{info.height}, {len(info.times_s) / info.duration_s:.0f} fps"
        )
        starts = np.arange(0, info.duration_s - _CLIP_S, _CLIP_S)
        shard_keys = [
            [(name, float(start), float(start + _CLIP_S)) for start in starts]
            for name in names
        ]
        recorder = clip_records.ClipRecorder(videos, infos, _FORMAT)

        def prepare():
            output = folder / "records"
            # Where it writes, and how much room there is.
            with contextlib.redirect_stdout(io.StringIO()):
                write_shards(
                    output,
                    shard_keys,
                    recorder,
                    kind=clip_records.KIND,
                    fingerprint={},
                    rerun_command="",
                    expected_bytes=1,
                    progress=False,
                )
            shutil.rmtree(output)

        def decode_all():
            with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
                list(pool.map(decode, [video] * len(names)))

        rates = {"PyAV": [], "prepare": []}
        for _ in range(rounds):
            for name, way in (("PyAV", decode_all), ("prepare", prepare)):
                start = time.perf_counter()
                way()
                rates[name].append(frames / (time.perf_counter() - start))
        return rates


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def generate(path):
    """Five seconds of 1920x1080 at 60 fps, as EPIC-KITCHENS has it."""
    draws = np.random.default_rng(0)
    blocks = draws.integers(0, 255, (18, 64, 3), np.uint8)
    scene = cv2.resize(blocks, (3840, 1080), interpolation=cv2.INTER_CUBIC)
    noise = draws.integers(0, 16, (8, 1080, 1920, 3), np.uint8)

    def frames():
        for number in range(300):
            left = number * 3
            yield cv2.add(scene[:, left : left + 1920], noise[number % 8])

    reading.write_video(path, frames(), 60, key_frame_interval=60)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", help="A recording; by default one is generated.")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rates = measure(arguments.video, arguments.rounds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, median in medians.items():
        print(f"{name:8} {median:7.0f} frames/s")
    print(f"prepare / PyAV: {medians['prepare'] / medians['PyAV']:.2f}")


if __name__ == "__main__":
    main()
