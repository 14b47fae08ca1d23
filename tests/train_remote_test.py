"""Commands read and write s3:// paths, on a server of this machine, and end well."""

import importlib.util
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import xml.etree.ElementTree

import numpy as np
import pytest

from kd_keras.data import remote
from tests import kill_training, long_tests, small_run
from train import prepare as prepare_lib

pytest.importorskip("moto", reason="moto is not installed.")
if importlib.util.find_spec("tensorflow_io") is None:
    pytest.skip("tensorflow-io is not installed.", allow_module_level=True)

_ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def endpoint():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                request = urllib.request.Request(f"{url}/bucket", method="PUT")
                urllib.request.urlopen(request).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        server.kill()
        server.wait()


def _command(endpoint, *arguments):
    environment = os.environ | {
        "S3_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    found = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    return found.returncode, found.stdout + found.stderr


def _get(url):
    # Any key will do; without one the server shows public objects alone.
    request = urllib.request.Request(url, headers={"Authorization": "AWS test:test"})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def _objects(endpoint, prefix):
    tree = xml.etree.ElementTree.fromstring(_get(f"{endpoint}/bucket?list-type=2"))
    keys = [e.text for e in tree.iter() if e.tag.endswith("}Key")]
    contents = {}
    for key in keys:
        if key.startswith(f"{prefix}/") and not key.endswith("/"):
            content = _get(f"{endpoint}/bucket/{key}")
            contents[key.removeprefix(f"{prefix}/")] = content
    return contents


def test_records_training_and_export_on_s3(endpoint, tmp_path):
    folder = small_run.write_data_set(tmp_path / "data", videos=4)
    run_dir = tmp_path / "run"
    flags = [*small_run.arguments(folder, run_dir), *small_run.SMALLEST_NETWORK]
    status, text = _command(
        endpoint, "train.prepare", *flags, "--output=s3://bucket/clips"
    )
    assert status == 0, text
    local = tmp_path / "clips"
    prepare_lib.prepare(
        small_run.config(folder, run_dir, *small_run.SMALLEST_NETWORK),
        small_run.preparation(local),
    )
    stored, expected = _objects(endpoint, "clips"), {}
    for path in local.iterdir():
        expected[path.name] = path.read_bytes()
    assert stored == expected
    # The command that a corrupt shard's message names.
    rerun_command = json.loads(stored["index.json"])["remake"].format(
        folder="s3://bucket/clips"
    )
    status, text = _command(endpoint, *rerun_command.split()[2:])
    assert status == 0, text
    assert _objects(endpoint, "clips") == expected
    # Videos and annotations are not needed any more.
    shutil.rmtree(folder)
    status, text = _command(
        endpoint,
        "train.main",
        *flags,
        "--task=teacher",
        "--records=s3://bucket/clips",
    )
    assert status == 0, text
    status, text = _command(
        endpoint,
        "export.main",
        f"--student={run_dir / 'teacher.keras'}",
        "--output=s3://bucket/models/name",
    )
    assert status == 0, text
    assert {"1/saved_model.pb", "1/assets.extra/student.json"} <= set(
        _objects(endpoint, "models/name")
    )


@long_tests.run_by("test-kills")
def test_records_that_are_missing_on_s3_are_named(endpoint, tmp_path):
    status, text = _command(
        endpoint,
        "train.prepare",
        *small_run.arguments(tmp_path / "data", tmp_path / "run"),
        *small_run.SMALLEST_NETWORK,
        "--records=s3://bucket/missing",
        "--output=s3://bucket/more",
    )
    assert status == 1 and "holds no index.json" in text, text


@long_tests.run_by("test-kills")
def test_a_run_on_s3_continues_without_its_working_copy(endpoint, tmp_path):
    data = small_run.write_data_set(tmp_path / "data")
    work = tmp_path / "work"
    work.mkdir()
    status, text = _command(
        endpoint, "tests.remote_training", str(data), str(work), "s3://bucket/runs"
    )
    assert status == 0, text
    assert "student_labels is saved at step 3 of 4" in text
    assert "student_labels continues at step 3 of 4" in text
    assert "s3://bucket/runs/x holds a run of other flags: --seed was 0, now 7" in text
    assert "s3://missing/x cannot be read and written: NoSuchBucket" in text
    assert "Everything is in s3://bucket/runs/x:" in text
    stored, local = _objects(endpoint, "runs/x"), work / "local"
    assert stored["metrics.jsonl"] == (local / "metrics.jsonl").read_bytes()
    assert stored["results.json"] == (local / "results.json").read_bytes()
    assert b"--run_dir=s3://bucket/runs/x\n" in stored["run.flags"]
    # But for events, of which there are more, in files that name hosts and times.
    expected = _names(path.relative_to(local).as_posix() for path in _in(local))
    assert _names(stored) == expected
    for name in ("teacher.keras", "student.keras", "students/labels.keras"):
        copy = tmp_path / name.replace("/", "-")
        copy.write_bytes(stored[name])
        for one, other in zip(
            kill_training.weights(copy),
            kill_training.weights(local / name),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def _in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def _names(files):
    return sorted(name for name in files if not name.startswith("tensorboard/"))


def test_without_tensorflow_io_the_message_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(ValueError, match="s3:// paths need tensorflow-io"):
        remote.require_file_system("s3://bucket/name")
    remote.require_file_system("/local")


def test_paths_are_joined_by_their_kind():
    assert remote.join("s3://a/b/", "c") == "s3://a/b/c"
    assert remote.join("/a/b", "c") == "/a/b/c"
    assert remote.is_remote("s3://a") and not remote.is_remote("/a/b")
