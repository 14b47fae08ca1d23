"""Which kernels TensorFlow computes with, by what is imported first."""

import os
import platform
import subprocess
import sys

import pytest

from kd_keras import onednn

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="oneDNN is chosen on x86 alone"
)


@pytest.fixture
def first_import(monkeypatch):
    """As in a process in which TensorFlow is not imported yet and nothing is set."""
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)


def test_onednn_is_chosen_before_tensorflow_is_imported(first_import):
    onednn.choose()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_what_the_environment_says_stays(first_import, monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    onednn.choose()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"


def test_nothing_is_chosen_too_late(first_import, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", object())
    onednn.choose()
    assert "TF_ENABLE_ONEDNN_OPTS" not in os.environ


@pytest.mark.parametrize(
    ("instructions", "warns"), [({"avx2"}, True), ({"avx2", "avx512_vnni"}, False)]
)
def test_too_late_is_said_where_tensorflow_chose_otherwise(
    first_import, monkeypatch, recwarn, instructions, warns
):
    monkeypatch.setattr(onednn, "_instructions", lambda: instructions)
    onednn.warn_if_too_late()
    assert all("Import kd_keras first" in str(each.message) for each in recwarn)
    assert len(recwarn) == int(warns)


def test_tensorflow_uses_it():
    """TensorFlow's own word, in a process of its own."""
    program = (
        "import kd_keras\n"
        "from tensorflow.python.util import _pywrap_util_port\n"
        "print(_pywrap_util_port.IsMklEnabled())\n"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.split() == ["True"]
