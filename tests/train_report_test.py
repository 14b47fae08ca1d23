"""The pictures and the table that a run leaves."""

import types

import cv2
import pytest

from kd_keras import visualise
from train.report import summary

_CLASSES = ["pay $5", "$", "$_^$ a", "\\frac"]
_RESULTS = {
    "classes": _CLASSES,
    "confusion": {"teacher": [[1, 0, 0, 0]] * 4},
    "majority": {"top1": 0.25},
    "teacher": {"future": {"top1": 0.5}, "observed": {"top1": 0.25}},
    "num_evaluated": 4,
    "eval_part": "val",
    "num_train_labeled": 4,
    "num_train_unlabeled": 0,
}


class _Directory:
    def __init__(self, path):
        self._path = path

    def __truediv__(self, name):
        return self._path / name

    def history(self, phase=None):
        return [{"phase": "teacher", "step": 1, "loss": 1.0}]


def _write(folder, results=_RESULTS):
    summary.write(types.SimpleNamespace(directory=_Directory(folder)), results)


def test_class_names_with_dollar_signs_are_drawn_as_they_are(tmp_path):
    _write(tmp_path)
    for name in ("curves.png", "confusion.png", "table.png"):
        assert cv2.imread(str(tmp_path / name)) is not None


def test_no_student_is_named_that_there_is_not(tmp_path, capsys):
    _write(tmp_path)
    assert ": results.json, teacher.keras, ..." in capsys.readouterr().out
    _write(tmp_path, _RESULTS | {"student": {"top1": 0.5}})
    assert ": results.json, student.keras, ..." in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["curves", "confusion", "table"])
def test_a_picture_that_fails_ends_no_run(broken, tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no font")

    monkeypatch.setattr(visualise, broken, fail)
    _write(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert f"{broken}.png" not in names and "results.json" in names and len(names) == 3
    assert f"{broken}.png could not be drawn: no font" in caplog.text
