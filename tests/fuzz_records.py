"""Mutates prepared records: what was written is read, or the shard is named.

python -m tests.fuzz_records --cases=500 --seed=0
"""

import functools
import shutil

import numpy as np

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.readers.probing import probe_videos
from kd_keras.data.records import (
    clips as clip_records,
)
from kd_keras.data.records import (
    data_set as stored_data_set,
)
from kd_keras.data.records import (
    media_sequence,
    shards,
)
from kd_keras.data.records.shard_writer import ShardContents, write_shards
from kd_keras.data.segments import TRAIN, Clip, Index, Segment
from kd_keras.data.video.info import Video
from tests import fuzz_pool, mutations, numbered_video

_CLIPS, _FEATURES = "clips", "features"
_FORMAT = ClipFormat(num_frames=9, image_size=16)
_ARRAYS = ("STUDENT_INPUT", "TEACHER_PROBABILITIES")
_VALUES = (
    *("", "0", "-1", "1", "2", "9" * 30, "1e999", "NaN", "null", "true", '"x"', '"'),
    *("[]", "{}", "[", "]", "{", "}", ",", ":", "é", "\0", "[[[[", '{"a":1},', "\\"),
)


def write_originals(folder):
    """Clips of two videos in two shards, and features in two."""
    names = [f"v{number}.mp4" for number in range(2)]
    for name in names:
        numbered_video.write(folder / name, 20, frame_rate=10, size=(16, 16))
    videos = {name: Video(name, folder / name, TRAIN) for name in names}
    infos, _ = probe_videos(videos.values(), progress=False)
    clips = [Clip(name, k / 4, k / 4 + 1) for name in names for k in range(4)]
    write_shards(
        folder / _CLIPS,
        clip_records.clip_shards(clips, 4),
        clip_records.ClipRecorder(videos, infos, _FORMAT),
        fingerprint=clip_records.format_values(_FORMAT),
        **_options(_CLIPS),
        files={
            stored_data_set.FILE: stored_data_set.to_json(
                Index(
                    classes=("open",),
                    videos=videos,
                    durations_s={name: 2.0 for name in names},
                    segments=(Segment(names[0], 0.5, 1.0, "open", uid="2"),),
                    bad_videos={},
                    infos=infos,
                ),
                with_times=True,
            )
        },
    )
    draws = np.random.default_rng(0)

    def make(keys):
        for key in keys:
            arrays = {
                name: draws.normal(size=(2, 3, 4)).astype(np.float16)
                for name in _ARRAYS
            }
            yield key, media_sequence.encode_features(str(key), arrays)

    write_shards(
        folder / _FEATURES,
        [[("v0.mp4", 0.0, 1.0, k) for k in range(3)], [("v1.mp4", 0.0, 1.0, 0)]],
        lambda keys: ShardContents(make(keys)),
        fingerprint={},
        **_options(_FEATURES),
    )


def _options(kind):
    rerun_command = "python -m train.prepare --output={folder}"
    return {
        "kind": kind,
        "rerun_command": rerun_command,
        "expected_bytes": 1000,
        "progress": False,
    }


def run_case(draws, originals, work):
    """Changes a file of a prepared folder and reads every record."""
    kind = draws.choice((_CLIPS, _FEATURES))
    folder = work / kind
    shutil.copytree(originals / kind, folder)
    path = draws.choice(sorted(folder.iterdir()))
    if path.suffix == ".json" and draws.random() < 0.7:
        text = mutations.change_text(path.read_text(), draws, _VALUES)
        path.write_bytes(mutations.encode_text(text, draws))
    else:
        path.write_bytes(mutations.change_bytes(path.read_bytes(), draws))
    if path.name == stored_data_set.FILE:
        _, error = fuzz_pool.refusal(lambda: stored_data_set.read(folder), path, folder)
        return "data set refused" if error else "data set read"
    records, error = fuzz_pool.refusal(lambda: shards.Shards(folder), folder)
    if error is not None:
        return f"{path.suffix} refused"
    read = _read_clips if kind == _CLIPS else _read_features
    expected = _originals(read, originals / kind)
    # What the index no longer has is missed by name before anything is read.
    refused = len(expected) - len(records)
    for key in set(records.keys()) & set(expected):
        found, error = fuzz_pool.refusal(functools.partial(read, records, key), folder)
        refused += error is not None
        if error is None:
            for one, other in zip(found, expected[key], strict=True):
                if not np.array_equal(one, other):
                    raise fuzz_pool.Fault(f"other data of {key} than was written")
    problems = list(records.verify())
    if refused and path.suffix == ".tfrecord" and not problems:
        raise fuzz_pool.Fault("--verify finds nothing")
    return f"{path.suffix} {'partly refused' if refused else 'read'}"


def _read_clips(records, key):
    return [clip_records.RecordLoader(records, _FORMAT).load(Clip(*key))]


def _read_features(records, key):
    return media_sequence.parse_features(records.read(key), _ARRAYS)


@functools.cache
def _originals(read, folder):
    records = shards.Shards(folder)
    return {key: read(records, key) for key in [*records.keys()]}


if __name__ == "__main__":
    fuzz_pool.main("tests.fuzz_records")
