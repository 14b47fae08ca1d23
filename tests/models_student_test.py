"""Loading of a trained student."""

import json
import zipfile

import keras
import numpy as np
import pytest

import kd_keras
from tests.published_i3d import run


def test_loads_what_was_saved(tmp_path):
    student = kd_keras.I3D(4, width=0.02, start="Mixed_5b")
    student.save(tmp_path / "student.keras")
    loaded = kd_keras.load_student(tmp_path / "student.keras")
    features = np.ones((1, 2, 2, 2, student.input.shape[-1]), "f4")
    np.testing.assert_array_equal(run(loaded, features), run(student, features))
    assert loaded.name == student.name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.keras", r"existing \.keras file.*gone\.keras', which is missing"),
        ("saved_model", r"Expected an existing \.keras file.*saved_model'\.$"),
    ],
)
def test_says_what_is_wrong_with_the_path(tmp_path, name, message):
    (tmp_path / "saved_model").mkdir()
    with pytest.raises(ValueError, match=message):
        kd_keras.load_student(tmp_path / name)


def test_a_file_that_was_copied_in_part_is_no_missing_file(tmp_path):
    file = tmp_path / "student.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(file)
    for size in (file.stat().st_size // 2, 0):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(ValueError, match="its end is missing. Copy it again"):
            kd_keras.load_student(file)


@pytest.mark.parametrize("is_newer", [True, False])
def test_says_which_keras_can_read_a_file(tmp_path, is_newer):
    whole, newer = tmp_path / "whole.keras", tmp_path / "newer.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(newer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = content.replace(b'"seed"', b'"axes_of_the_future"')
            if name == "metadata.json" and is_newer:
                metadata = json.loads(content) | {"keras_version": "99.1.0"}
                content = json.dumps(metadata).encode()
            new.writestr(name, content)
    advice = r"saved by Keras 99\.1\.0, and this Keras .* pip install keras==99\.1\.0"
    kind, message = (
        (ValueError, advice) if is_newer else (TypeError, "axes_of_the_future")
    )
    with pytest.raises(kind, match=message):
        kd_keras.load_student(newer)
