"""The command that turns a published checkpoint into a Keras file."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import kd_keras
from kd_keras.models import convert
from tests import published_i3d

pytest.importorskip("tensorflow", reason="writes checkpoints")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    shapes = published_i3d.variable_shapes(**published_i3d.STYLES["flow"])
    variables = published_i3d.random_variables(shapes)
    path = tmp_path_factory.mktemp("flow") / "model.ckpt"
    return published_i3d.write_checkpoint(path, variables), variables


def test_the_command_reads_channels_and_classes_off_the_checkpoint(flow, tmp_path):
    source, variables = flow
    output = tmp_path / "new" / "flow.weights.h5"
    root = pathlib.Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "kd_keras.models.convert"]
    command += [f"--source={source}", f"--output={output}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"Wrote {output}" in done.stdout
    assert [path.name for path in output.parent.iterdir()] == ["flow.weights.h5"]
    model = kd_keras.I3D(channels=2, weights=output)
    clip = np.random.default_rng(0).uniform(-1, 1, (1, 9, 24, 24, 2))
    expected = published_i3d.endpoints(variables, clip, "Flow/inception_i3d/")
    np.testing.assert_allclose(model(clip), expected["Logits"], atol=1e-4)


def test_keeps_what_is_there(flow, tmp_path, monkeypatch):
    output = tmp_path / "i3d.weights.h5"
    output.write_text("precious")
    with pytest.raises(ValueError, match=r"i3d.weights.h5 exists. Pass --overwrite"):
        convert.convert(flow[0], output)
    with pytest.raises(ValueError, match="channels=2"):
        convert.convert(flow[0], output, channels=3, overwrite=True)

    def full_disk(self, path, overwrite=True):
        pathlib.Path(path).write_text("half")
        raise OSError("No space left on device")

    monkeypatch.setattr("keras.Model.save_weights", full_disk)
    with pytest.raises(OSError, match="No space left"):
        convert.convert(flow[0], output, overwrite=True)
    assert output.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [output]


def test_refuses_other_endings_and_sources(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.weights\.h5"):
        convert.convert("model.ckpt", tmp_path / "i3d.h5")
    with pytest.raises(ValueError, match="Expected a TF-Hub handle"):
        convert.convert(str(tmp_path / "none"), tmp_path / "i3d.weights.h5")
    other = {"dense/kernel": np.zeros((2, 3), "f4")}
    other = published_i3d.write_checkpoint(tmp_path / "other.ckpt", other)
    with pytest.raises(ValueError, match="nothing for channels at Conv3d_1a_7x7"):
        convert.convert(other, tmp_path / "i3d.weights.h5")
