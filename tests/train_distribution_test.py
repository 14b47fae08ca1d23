"""One device, two devices, two processes: the same losses, scores and files."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import small_run
from train import distribution

_ROOT = pathlib.Path(__file__).resolve().parents[1]

_FLAGS = (
    "--backbone=tsn_small",
    "--segments=2",
    "--width=0.1",
    "--image_size=16",
    "--batch_size=8",
    "--dropout=0",
    "--teacher_steps=2",
    "--student_steps=5",
    "--students=attention",
    "--feature_weight=0.1",
    "--clip_norm=0.5",
    "--validate_every=1",
    "--optimizer=sgd",
    "--warmup_steps=0",
    "--freeze_batch_norm",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_run.write_data_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def one_device(folder, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("one")
    _finish(_start(folder, run_dir))
    return run_dir


def _start(folder, run_dir, *arguments, **environment):
    command = [sys.executable, "-m", "train.main"]
    command += small_run.arguments(folder, run_dir)
    return subprocess.Popen(
        [*command, *_FLAGS, *arguments],
        cwd=_ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _start_workers(folder, run_dir, *arguments):
    ports = _free_ports(2)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return [
        _start(
            folder,
            run_dir,
            "--distribution=multi_worker",
            *arguments,
            TF_CONFIG=json.dumps(
                {"cluster": cluster, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]


def _free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _finish(process, status=0):
    text, _ = process.communicate(timeout=600)
    assert process.returncode == status, text
    return text


def _assert_same_run(found, expected):
    records, wanted = (
        [json.loads(line) for line in (run_dir / "metrics.jsonl").open()]
        for run_dir in (found, expected)
    )
    assert len(records) == 7
    for record, want in zip(records, wanted, strict=True):
        assert record.keys() == want.keys()
        for name, value in want.items():
            if isinstance(value, str):
                assert record[name] == value
            else:
                np.testing.assert_allclose(
                    record[name], value, rtol=2e-5, atol=1e-6, err_msg=str(want)
                )
    results, want = (
        json.loads((run_dir / "results.json").read_text())
        for run_dir in (found, expected)
    )
    assert results == want
    assert _files(found) == _files(expected)


def _files(run_dir):
    return sorted(
        str(path.relative_to(run_dir))
        for path in run_dir.rglob("*")
        if "tensorboard" not in path.parts
    )


def test_two_devices_give_what_one_gives(folder, one_device, tmp_path):
    _finish(_start(folder, tmp_path, "--distribution=mirrored", "--logical_devices=2"))
    _assert_same_run(tmp_path, one_device)


def test_two_workers_give_what_one_device_gives(folder, one_device, tmp_path):
    for process in _start_workers(folder, tmp_path):
        _finish(process)
    _assert_same_run(tmp_path, one_device)


def test_a_lost_worker_ends_the_others_and_the_run_continues(
    folder, one_device, tmp_path
):
    chief, worker = _start_workers(folder, tmp_path)
    saved = tmp_path / "state" / "student_attention" / "step-00000002"
    while not saved.exists():
        assert chief.poll() is None, chief.communicate()[0]
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    text = _finish(chief, status=1)
    assert "Another worker is gone" in text and "Start all workers again" in text
    for process in _start_workers(folder, tmp_path):
        _finish(process)
    _assert_same_run(tmp_path, one_device)


def test_workers_are_read_from_slurm():
    environment = {
        "SLURM_PROCID": "2",
        "SLURM_STEP_NUM_TASKS": "3",
        "SLURM_STEP_NODELIST": "node[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "2,1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("TF_CONFIG", raising=False)
        found = dict(os.environ)
        distribution.describe_cluster(found)
    config = json.loads(found["TF_CONFIG"])
    assert config == {
        "cluster": {"worker": ["node1:12355", "node1:12356", "node2:12355"]},
        "task": {"type": "worker", "index": 2},
    }


def test_a_cluster_that_nobody_describes_is_refused():
    with pytest.raises(ValueError, match="set TF_CONFIG to"):
        distribution.describe_cluster({})
