"""The flags of what train.prepare writes, which are no part of a run."""

import dataclasses

from train.flags.fields import flag as _flag
from train.flags.fields import path_flag as _path_flag


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What is prepared, and where it is kept."""

    output: str | None = _path_flag(
        None,
        "Folder of the prepared data, local or remote (s3://bucket/folder).",
        affects=None,
    )
    kind: str = _flag(
        "clips",
        "clips: every clip of the run, as JPEG; with --modality=flow its flow, as PNG, "
        "which loses nothing. features: what --stored_layer gives "
        "in the student (by default a layer in the middle), for --views augmented "
        "views of every training pair, and what the teacher predicts for them.",
        affects="run",
        choices=("clips", "features"),
    )
    jpeg_quality: int = _flag(
        95, "Quality of stored frames.", affects="clips", lower=1, upper=100
    )
    precision: str = _flag(
        "float16",
        "Type of stored features.",
        affects="features",
        choices=("float16", "float32"),
    )
    shard_records: int = _flag(
        128,
        "Records in a file; a kill costs at most one file per core.",
        affects=("clips", "features"),
        lower=1,
    )
    scheduler: str | None = _flag(
        None,
        "Address of a Dask scheduler, such as tcp://host:8786, or the file that dask "
        "scheduler --scheduler-file writes: its workers write the shards, in place of "
        "this process. They need this environment, and the videos and --output under "
        "the same paths.",
        affects=None,
    )
    verify: bool = _flag(
        False,
        "Compare what is there with its checksums, and write again what differs.",
        affects=None,
    )
    check: bool = _flag(
        False,
        "Write nothing but a report of the data set: videos, labels, leaks, counts and "
        "a contact sheet, into --output.",
        affects=None,
    )

    @property
    def folder(self) -> str:
        """--output, which the command requires."""
        if self.output is None:
            raise ValueError("Name the folder of the prepared data: --output=DIR.")
        return self.output
