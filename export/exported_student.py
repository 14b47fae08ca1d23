"""Loads a student that `export.saved_model` wrote, and predicts with it."""

import os

import numpy as np
import tensorflow as tf

from export import saved_model, versions
from kd_keras.data import remote
from kd_keras.models.plain_paths import plain_path


class ExportedStudent:
    """A SavedModel that `export.saved_model` wrote.

    Attributes:
        path: The version that is loaded.
        spec: Its `ExportSpec`.
    """

    def __init__(self, model: str | os.PathLike):
        self.path = newest(os.fspath(model).rstrip("/"))
        self.spec = saved_model.read_spec(self.path)
        if self.spec.clip_format.modality == "features":
            raise ValueError(
                f"{self.path} takes features of another network, which are not "
                "computed here from a video: send them to its signature "
                "serving_default."
            )
        # Kept as an attribute, because the signature does not keep the model alive.
        with plain_path(self.path) as plain:
            try:
                self._loaded = tf.saved_model.load(plain)
            except ValueError as error:
                raise saved_model.no_graph(self.path) from error
        self._serve = self._loaded.signatures["serving_default"]
        channels = saved_model.num_channels(self.path)
        if channels != self.spec.clip_format.channels:
            raise ValueError(
                f"{self.path} takes frames of {channels} channels, not "
                f"{self.spec.clip_format.modality} of a video."
            )

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Probabilities (batch, classes) of uint8 frames; see `preprocess.py`."""
        return self._serve(frames=tf.constant(frames))["probabilities"].numpy()


def newest(model: str) -> str:
    """The version to load: `model` itself, or the highest number in it."""
    remote.require_file_system(model)
    if tf.io.gfile.exists(f"{model}/saved_model.pb"):
        return model
    numbers = versions.versions(model)
    if not numbers:
        raise ValueError(
            f"--model={model} holds no exported student: expected {model}/<version>/, "
            "as export.main writes it."
        )
    newest_ = f"{model}/{numbers[-1]}"
    versions.require_savedmodel(newest_)
    return newest_
