"""What --dataset=features reads: segments, and features in place of frames."""

import functools
from typing import Any

from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.feature_loader import FeatureLoader
from kd_keras.data.features import stores
from kd_keras.data.readers import feature_files
from kd_keras.data.segments import Index
from train.flags.data import Data


def read_index(flags: Data, **checks: Any) -> Index:
    """Returns the `Index` of the annotations.

    Args:
        flags: The run's `Data` flags.
        checks: As `read_features` takes them.
    """
    annotations, root, rate = map(
        flags.required, ("annotations", "feature_root", "feature_rate")
    )
    return feature_files.read_features(annotations, _open(root), rate, **checks)


def loader(flags: Data, index: Index) -> FeatureLoader:
    """Returns the `FeatureLoader` of an index."""
    return FeatureLoader(
        index.videos,
        _store(flags),
        clip_format(flags),
        index.infos,
        flags.cache or "off",
        flags.max_bad_videos,
    )


def clip_format(flags: Data) -> FeatureFormat:
    """Returns the `FeatureFormat` of the clips of a run."""
    height, width, channels = shape(flags)
    return FeatureFormat(flags.num_frames, height, width, channels, flags.short_clip)


def shape(flags: Data) -> tuple[int, int, int]:
    """Returns (height, width, channels) of a time step, as most videos have it.

    Raises:
        ValueError: If there is none.
    """
    return _shape(flags.annotations, flags.feature_root)


def _store(flags: Data) -> stores.FeatureStore:
    return _open(flags.feature_root)


# One .npz may be large, and a run asks several times.
_open = functools.cache(stores.open_store)


@functools.cache
def _shape(annotations: str, root: str) -> tuple[int, int, int]:
    found = feature_files.usual_shape(annotations, _open(root))
    if found is None:
        raise ValueError(f"None of the videos in {annotations} has features at {root}.")
    return found
