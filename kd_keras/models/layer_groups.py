"""The variables of each layer in a Keras weights file."""

import contextlib
import io
import zipfile
from collections.abc import Iterator

import h5py


@contextlib.contextmanager
def layer_groups(path: str, accepted: str) -> Iterator[list[h5py.Group]]:
    """Opens a Keras 3 file, and yields the group of variables of every layer.

    Args:
        path: A .keras or .weights.h5 file.
        accepted: What else could have been given, for the error.
    Raises:
        ValueError: If the file is something else.
    """
    with contextlib.ExitStack() as files:
        try:
            file = files.enter_context(h5py.File(_open_h5(path, files), "r"))
            layers = file["layers"].values()
            groups = [group["vars"] for group in layers if "vars" in group]
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"Cannot read {path!r} as the weights of a Keras 3 model: {error}. "
                f"Expected {accepted}."
            ) from error
        yield groups


def _open_h5(path: str, files: contextlib.ExitStack):
    if "://" in path:
        import tensorflow as tf

        with tf.io.gfile.GFile(path, "rb") as remote:
            file = io.BytesIO(remote.read())
    else:
        file = files.enter_context(open(path, "rb"))  # noqa: SIM115 (it is closed)
    if not path.endswith(".keras"):
        return file
    archive = files.enter_context(zipfile.ZipFile(file))
    return files.enter_context(archive.open("model.weights.h5"))
