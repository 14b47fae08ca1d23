"""The variables of each layer in a Keras weights file."""

import io
import zipfile

import h5py


def layer_groups(path: str, accepted: str) -> list[h5py.Group]:
    """Returns the group of variables of every layer in a Keras 3 file.

    Args:
        path: A .keras or .weights.h5 file.
        accepted: What else could have been given, for the error.
    Raises:
        ValueError: If the file is something else.
    """
    try:
        file = h5py.File(_open_h5(path), "r")
        return [group["vars"] for group in file["layers"].values() if "vars" in group]
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Cannot read {path!r} as the weights of a Keras 3 model: {error}. "
            f"Expected {accepted}."
        ) from error


def _open_h5(path: str):
    if "://" in path:
        import tensorflow as tf

        with tf.io.gfile.GFile(path, "rb") as remote:
            file = io.BytesIO(remote.read())
    else:
        file = open(path, "rb")  # noqa: SIM115 (lives as long as the reader)
    if not path.endswith(".keras"):
        return file
    return zipfile.ZipFile(file).open("model.weights.h5")
