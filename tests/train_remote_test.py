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

import pytest

from kd_keras.data import remote
from tests import small_run
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
    flags = small_run.arguments(folder, run_dir)
    status, text = _command(
        endpoint, "train.prepare", *flags, "--output=s3://bucket/clips"
    )
    assert status == 0, text
    local = tmp_path / "clips"
    prepare_lib.prepare(small_run.config(folder, run_dir), small_run.preparation(local))
    stored, expected = _objects(endpoint, "clips"), {}
    for path in local.iterdir():
        expected[path.name] = path.read_bytes()
    assert stored == expected
    # The command that a corrupt shard's message names.
    remake = json.loads(stored["index.json"])["remake"].format(
        folder="s3://bucket/clips"
    )
    status, text = _command(endpoint, *remake.split()[2:])
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
    status, text = _command(
        endpoint,
        "train.prepare",
        *flags,
        "--records=s3://bucket/missing",
        "--output=s3://bucket/more",
    )
    assert status == 1 and "holds no index.json" in text, text


def test_without_tensorflow_io_the_message_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    with pytest.raises(ValueError, match="s3:// paths need tensorflow-io"):
        remote.require_file_system("s3://bucket/name")
    remote.require_file_system("/local")


def test_paths_are_joined_by_their_kind():
    assert remote.join("s3://a/b/", "c") == "s3://a/b/c"
    assert remote.join("/a/b", "c") == "/a/b/c"
    assert remote.is_remote("s3://a") and not remote.is_remote("/a/b")
