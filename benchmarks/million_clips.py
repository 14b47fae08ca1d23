"""Time and memory of the index and the shuffle at a million clips.

python -m benchmarks.million_clips [--clips=N]

No video is read. The index is made up, and its records do not exist. Each row of the
table is a process of its own. "MB" is what it took at its peak, its input left out.
"""

import argparse
import json
import pathlib
import tempfile
import time

from benchmarks import processes
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.records import clips as clip_records
from kd_keras.data.records import shards
from kd_keras.data.segments import Clip, Pair

_FORMAT = ClipFormat(num_frames=32, image_size=224)
_CLIPS_PER_VIDEO, _CLIPS_PER_SHARD, _RECORD_BYTES = 100, 128, 600_000


def _pairs(number):
    """Pairs of two clips each, so many clips in all, in videos of names as in EPIC."""
    for k in range(number // 2):
        video, place = divmod(k, _CLIPS_PER_VIDEO // 2)
        name, start_s = f"P{video % 37:02d}/P{video % 37:02d}_{video}.MP4", 3.7 * place
        observed = Clip(name, start_s, start_s + 1.07)
        yield Pair(observed, Clip(name, start_s + 2.07, start_s + 3.14), k % 97)


def _clips(number):
    return [clip for pair in _pairs(number) for clip in (pair.observed, pair.future)]


def cut(folder, number):
    """cut the clips into shards, and name them all by a digest"""
    clips = _clips(number)
    yield
    shard_keys = clip_records.clip_shards(clips, _CLIPS_PER_SHARD)
    shards.digest(shard_keys)
    yield f"{len(shard_keys)} shards"


def write(folder, number):
    """write index.json"""
    shard_keys = clip_records.clip_shards(_clips(number), _CLIPS_PER_SHARD)
    yield
    framed = _RECORD_BYTES + shards.HEAD_BYTES + shards.TAIL_BYTES
    described = [
        {
            "name": f"clips-{k:05d}-of-{len(shard_keys):05d}.tfrecord",
            "sha256": f"{k:064x}",
            "size": framed * len(keys),
            "keys": keys,
            "lengths": [_RECORD_BYTES] * len(keys),
            "checksums": [2**31 + n for n in range(len(keys))],
            "left_out": {},
        }
        for k, keys in enumerate(shard_keys)
    ]
    index = {
        "format_version": shards.FORMAT_VERSION,
        "complete": True,
        "remake": "",
        "made_from": clip_records.format_values(_FORMAT),
        "shards": described,
    }
    path = folder / shards.INDEX
    path.write_text(json.dumps(index, separators=(",", ":"), sort_keys=True))
    yield f"{path.stat().st_size / 1e6:.0f} MB"


def read(folder, number):
    """open the records"""
    yield
    records = shards.Shards(folder)
    yield f"{len(records)} records"


def order(folder, number):
    """shuffle an epoch, and find every pair in it"""
    from kd_keras.data.batches.order import SampleOrder

    pairs = list(_pairs(number))
    yield
    found = SampleOrder(pairs, seed=0)
    indices = [found.index(position) for position in range(len(pairs))]
    yield f"{len(set(indices))} pairs"


def graph(folder, number):
    """make the graph that a tf.data service shares out"""
    import tensorflow as tf

    from kd_keras.data.batches import from_records
    from kd_keras.data.batches.stream import Stream

    loader = clip_records.RecordLoader(shards.Shards(folder), _FORMAT)
    pairs = list(_pairs(number))
    yield
    batches = from_records.training_batches(Stream(pairs, 8), loader, as_uint8=True)
    size = len(batches._as_serialized_graph().numpy())
    tf.debugging.assert_positive(size)
    yield f"{size / 1e6:.0f} MB"


WAYS = {way.__name__: way for way in (cut, write, read, order, graph)}


def _measure(name, folder, number):
    """CPU seconds, MB at the peak beyond what was there before, and what came out."""
    steps = WAYS[name](pathlib.Path(folder), number)
    next(steps)
    before = processes.memory_bytes("VmRSS")
    start = time.process_time()
    found = next(steps)
    seconds = time.process_time() - start
    return seconds, (processes.memory_bytes("VmHWM") - before) / 1e6, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1_000_000)
    arguments = parser.parse_args()
    print(f"{arguments.clips} clips\n{'':56}{'CPU s':>6}{'MB':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, way in WAYS.items():
            seconds, megabytes, found = processes.in_a_process(
                _measure, name, folder, arguments.clips
            )
            print(
                f"{way.__doc__:56}{seconds:6.1f}{megabytes:7.0f}  {found}", flush=True
            )


if __name__ == "__main__":
    main()
