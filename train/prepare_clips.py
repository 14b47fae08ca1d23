"""Writes the clips of a run as records: JPEG frames, or optical flow."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kd_keras.data.records import clips as clip_records
from kd_keras.data.records import data_set as stored_data_set
from kd_keras.data.records import shards
from kd_keras.data.records.shard_writer import sampled_sizes, write_shards
from kd_keras.data.segments import Index, Pair
from train import data as data_lib
from train import data_set, left_out
from train.data import RunData
from train.flags import fields as flag_fields
from train.flags.config import Config
from train.flags.preparation import Preparation


def write(
    config: Config,
    preparation: Preparation,
    data: RunData,
    rerun_command: str,
    files: Mapping[str, bytes],
    **how: Any,
) -> shards.Shards:
    """Writes the clips of all pairs; returns their reader.

    Args:
        config: The run's `Config`.
        preparation: The `Preparation`.
        data: The `RunData`.
        rerun_command: The command that continues the folder, and repairs it.
        files: Other files of the folder, by name.
        how: Other arguments of `write_shards`, such as `run_jobs`.
    """
    scored = [pair for members in data.scored.values() for pair in members]
    pairs = [*data.for_students, *scored]
    shard_keys = clip_records.clip_shards(
        data_lib.clips_of(pairs), preparation.shard_records
    )
    clip_format = data_lib.format_of_videos(config.data)
    recorder = clip_records.ClipRecorder(
        data.whole_index.videos,
        data.whole_index.infos,
        clip_format,
        preparation.jpeg_quality,
        _labels(pairs, data.index.classes),
    )
    values = data_set.describe(
        config.data,
        data.whole_index,
        with_times=config.data.observed_fraction is not None,
    )
    data_set.refuse_changes(preparation.folder, values, "clips")
    # A tenth more, as a sample errs.
    size = 1.1 * np.mean([*sampled_sizes(shard_keys, recorder)])
    return write_shards(
        preparation.folder,
        shard_keys,
        recorder,
        kind=clip_records.KIND,
        fingerprint={
            **flag_fields.with_dashes(config.affecting("pairs")),
            **clip_records.format_values(clip_format),
            **flag_fields.with_dashes(flag_fields.affecting("clips", preparation)),
            "data_set": shards.digest(stored_data_set.values(data.whole_index)),
            "stored flow": shards.digest(_stored_flow(data.whole_index)),
        },
        rerun_command=rerun_command,
        expected_bytes=int(size * sum(map(len, shard_keys))),
        files={**files, data_set.FILE: data_set.to_bytes(values)},
        verify=preparation.verify,
        note_left_out=left_out.noting(config, preparation.folder, data.whole_index),
        **how,
    )


def _stored_flow(index: Index) -> dict[str, float | None]:
    """The frame rate of every stored flow, by video; not where it lies."""
    return {
        name: video.flow_frame_rate
        for name, video in index.videos.items()
        if video.flow_path is not None
    }


def _labels(
    pairs: Iterable[Pair], classes: Sequence[str]
) -> dict[tuple, tuple[int, str]]:
    """(class index, name) of the clips that pairs of one label alone show."""
    labels: dict[tuple, set[int | None]] = {}
    for pair in pairs:
        for clip in (pair.observed, pair.future):
            labels.setdefault(clip_records.clip_key(clip), set()).add(pair.label)
    return {
        key: (label, classes[label])
        for key, (label, *others) in labels.items()
        if label is not None and not others
    }
