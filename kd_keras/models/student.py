"""Loading of a trained student."""

import json
import os
import zipfile

import keras
from packaging.version import Version


def load_student(path: str | os.PathLike) -> keras.Model:
    """Loads the `.keras` file of a student: built-in layers, nothing else needed.

    Raises:
        ValueError: If `path` is not an existing .keras file, or a newer Keras saved it
            than this one can read.
    Examples:
        >>> import tempfile
        >>> import kd_keras
        >>> network = kd_keras.TSN(5, 4, 16, segments=2, network="small", width=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     network.save(f"{folder}/student.keras")
        ...     student = kd_keras.load_student(f"{folder}/student.keras")
        >>> student.input.shape, student.output.shape
        ((None, 4, 16, 16, 3), (None, 5))
    """
    path = os.fspath(path)
    remote = "://" in path  # Keras opens these through TensorFlow's file systems.
    if not path.endswith(".keras") or not (remote or os.path.isfile(path)):
        raise ValueError(
            f"Expected an existing .keras file, such as RUN_DIR/student.keras. Got "
            f"{path!r}{'' if remote or os.path.exists(path) else ', which is missing'}."
        )
    if not remote and not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is no .keras file, which is a ZIP archive, or its end is missing. "
            "Copy it again, or save the student again."
        )
    try:
        return keras.saving.load_model(path)
    except (TypeError, ValueError) as error:
        saved_by = None if remote else _keras_version(path)
        if saved_by is None or Version(saved_by) <= Version(keras.__version__):
            raise
        raise ValueError(
            f"{path} was saved by Keras {saved_by}, and this Keras {keras.__version__} "
            f"cannot read it: pip install keras=={saved_by}"
        ) from error


def _keras_version(path):
    """The version of Keras that saved a file, or None."""
    try:
        with zipfile.ZipFile(path) as file:
            version = json.loads(file.read("metadata.json"))["keras_version"]
        return str(Version(version))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
