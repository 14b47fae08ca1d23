"""Loading of a trained student."""

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
