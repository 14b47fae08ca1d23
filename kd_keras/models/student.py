"""Loading of a trained student."""

import os

import keras


def load_student(path: str | os.PathLike) -> keras.Model:
    """Loads the `.keras` file of a student: built-in layers, nothing else needed.

    Raises:
        ValueError: If `path` is not an existing .keras file.
    """
    path = os.fspath(path)
    remote = "://" in path  # Keras opens these through TensorFlow's file systems.
    if not path.endswith(".keras") or not (remote or os.path.isfile(path)):
        raise ValueError(
            f"Expected an existing .keras file, such as RUN_DIR/student.keras. Got "
            f"{path!r}{'' if remote or os.path.exists(path) else ', which is missing'}."
        )
    return keras.saving.load_model(path)
