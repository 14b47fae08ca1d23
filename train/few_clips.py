"""What a run of few labeled clips does by default: it starts from ImageNet weights."""

import collections
import importlib.util
import pathlib
from typing import Any

from absl import flags

from kd_keras.data.readers.csv_videos import count_labeled
from kd_keras.data.records import data_set as stored_data_set
from kd_keras.data.records import shards
from kd_keras.data.segments import TRAIN, VAL
from kd_keras.models.efficientnet_lite import MODULE
from train.flags import config as config_lib
from train.flags import defaults as flag_defaults
from train.flags import fields as flag_fields
from train.flags.config import Config
from train.flags.data import Data
from train.loop.guards import FEW_CLIPS

# docs/choices.md compares them with other starts.
_DEFAULTS: dict[str, Any] = {
    "backbone": "tsm_lite",
    "weights": "imagenet",
    # Small batches would spoil the statistics.
    "freeze_batch_norm": True,
    # At the full rate some networks forget ImageNet and learn nothing.
    "pretrained_rate": 0.3,
    "image_size": 64,
    "mixup": 0.5,
    "teacher_steps": 400,
    "validate_every": 50,
}

# If one of these is given, the user has chosen her networks.
_OF_NETWORKS = (
    "backbone",
    "teacher_backbone",
    "width",
    "teacher_width",
    "weights",
    "teacher_weights",
    "freeze_until",
    "stored_layer",
    "feature_layer",
    "teacher_feature_layer",
)


def fitted(config: Config, values: flags.FlagValues = flags.FLAGS) -> Config:
    """Returns a run's `Config`, with other defaults if it has few labeled clips.

    Flags that are given stay as they are. Nothing changes if a flag says what the
    networks are, or gives a teacher of a run that had no such defaults. Nor does it if
    the run is not of RGB videos and a CSV, or if the package of the weights is not
    installed.

    Args:
        config: What the flags describe.
        values: The parsed flags.
    Raises:
        ValueError: If the CSV, or what was prepared from it, cannot be read.
    """
    data = config.data
    if (data.dataset, data.modality) != ("csv", "rgb"):
        return config
    if data.annotations is None and data.records is None:
        return config
    if any(not values[name].using_default_value for name in _OF_NETWORKS):
        return config
    if config.run.teacher is not None and not _has_defaults(config.run.teacher):
        return config
    labeled = _count_labeled(data)
    num_labeled = round(
        labeled[TRAIN] * (1 - (data.holdout or 0)) * data.labeled_fraction
    )
    if num_labeled >= FEW_CLIPS or importlib.util.find_spec(MODULE) is None:
        return config
    defaults = dict(_DEFAULTS)
    if labeled[VAL] or data.holdout is not None:
        defaults["keep"] = "best"
    if not flag_defaults.can_mix(data.features, config.distillation.teacher_cache):
        del defaults["mixup"]
    changed = {
        name: value
        for name, value in defaults.items()
        if values[name].using_default_value
    }
    given = " ".join(flag_fields.flagfile_line(*item) for item in changed.items())
    print(
        f"About {num_labeled} labeled training clips are few. Networks start from "
        f"ImageNet weights, as if these flags were given: {given}. --backbone=i3d "
        "starts from random weights.",
        flush=True,
    )
    return config_lib.from_flags(values, changed)


def _count_labeled(data: Data) -> collections.Counter[str]:
    """How many segments of each part have a label."""
    if data.records is None:
        return count_labeled(data.required("annotations"))
    # The CSV need not be there. If nothing was prepared, this says how to do it.
    shards.Shards(data.records)
    index = stored_data_set.read(data.records)
    labeled = [s.video for s in index.segments if s.label is not None]
    return collections.Counter(index.videos[video].part for video in labeled)


def _has_defaults(teacher: str) -> bool:
    """Whether the run that a teacher lies in had these networks."""
    flagfile = pathlib.Path(teacher).parent / "run.flags"
    if not flagfile.is_file():
        return False
    try:
        network = config_lib.from_flagfile(flagfile).network
    except ValueError:
        # Of a version with other flags.
        return False
    return all(
        getattr(network, name) == _DEFAULTS[name] for name in ("backbone", "weights")
    )
