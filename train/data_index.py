"""Reads the videos and segments of the data set that the flags name."""

import os
import pathlib
from typing import Any

from kd_keras.data.readers import (
    csv_videos,
    epic_kitchens,
    epic_kitchens_100,
    flow_folders,
    jhmdb,
    thumos14,
)
from kd_keras.data.scenes.write import write_scenes
from kd_keras.data.segments import Index
from kd_keras.data.video.flow import EPIC_FLOW, I3D_FLOW, FlowEncoding
from train import feature_data
from train.flags import defaults as flag_defaults
from train.flags.config import Config
from train.flags.data import Data
from train.run_directory import RunDirectory


def read(
    config: Config, directory: RunDirectory | pathlib.Path, refuse_problems: bool
) -> Index:
    """Returns the `Index` of the data set, with stored flow if the run is one of flow.

    Args:
        config: The run's `Config`.
        directory: The `RunDirectory`, for generated videos.
        refuse_problems: False leaves it to the caller to say what is wrong.
    """
    index = _read_annotations(config, directory, refuse_problems)
    return with_flow(config.data, index)


def flow_encoding(flags: Data) -> FlowEncoding:
    """Returns what the levels of the data set's stored flow mean.

    Args:
        flags: The run's `Data` flags.
    """
    return EPIC_FLOW if flags.dataset in flag_defaults.EPIC else I3D_FLOW


def with_flow(flags: Data, index: Index) -> Index:
    """Returns the `Index`, with the stored flow of its videos if the run takes flow.

    Args:
        flags: The run's `Data` flags.
        index: Of any part of the data set.
    """
    if flags.modality != "flow":
        return index
    root = flags.flow_root
    if root is None and flags.data_root is not None:
        root = os.path.join(flags.data_root, "flow")
        root = root if os.path.isdir(root) else None
    if root is not None:
        index = flow_folders.attach_flow(
            index, root, flow_encoding(flags), flags.flow_frame_rate
        )
    stored = sum(video.flow_path is not None for video in index.videos.values())
    computed = len(index.videos) - stored
    print(
        f"Optical flow: read for {stored} videos, computed for {computed} "
        f"({flags.flow_method}).",
        flush=True,
    )
    return index


def _read_annotations(
    config: Config, directory: RunDirectory | pathlib.Path, refuse_problems: bool
) -> Index:
    flags = config.data
    bad: dict[str, Any] = {"max_bad_videos": flags.max_bad_videos}
    if flags.dataset == "features":
        return feature_data.read_index(
            flags, refuse_contradictions=refuse_problems, **bad
        )
    if flags.dataset == "jhmdb":
        return jhmdb.read_jhmdb(flags.required("data_root"), flags.split, **bad)
    if flags.dataset == "epic_kitchens":
        return epic_kitchens.read_epic_kitchens(
            flags.required("data_root"),
            flags.epic_split,
            flags.epic_target,
            flags.required("media_frame_rate"),
            **bad,
        )
    if flags.dataset == "epic_kitchens_100":
        return epic_kitchens_100.read_epic_kitchens_100(
            flags.required("data_root"),
            flags.epic_target,
            flags.media_frame_rate,
            **bad,
        )
    if flags.dataset == "thumos14":
        return thumos14.read_thumos14(flags.required("data_root"), **bad)
    if flags.dataset == "demo":
        annotations = _write_demo(config, directory)
        video_root = annotations.parent
    else:
        annotations = flags.required("annotations")
        video_root = flags.required("video_root")
    return csv_videos.read_csv(
        annotations, video_root, refuse_contradictions=refuse_problems, **bad
    )


def _write_demo(config: Config, directory: RunDirectory | pathlib.Path) -> pathlib.Path:
    flags, folder = config.data, directory / "demo"
    if not folder.exists():
        print(f"Writing {flags.demo_videos} videos to {folder}", flush=True)
    return write_scenes(
        folder,
        num_videos=flags.demo_videos,
        labeled_fraction=flags.demo_labeled_fraction,
        seed=flags.demo_seed,
        val_fraction=flags.demo_val_fraction,
        camera_drift=flags.demo_camera_drift,
    )
