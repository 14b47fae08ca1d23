"""One device, two devices, two processes: the same losses, scores and files.

`make test-kills` also compares whole runs.
"""

import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import processes
from tests import long_tests, small_run, worker_training
from train.loop import distribution, guards
from train.loop.interruption import Interruption

_ROOT = pathlib.Path(__file__).resolve().parents[1]

_LONG = long_tests.run_by("test-kills")

_FLAGS = (
    *small_run.SMALLEST_NETWORK,
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
    arguments = (*arguments, "--distribution=multi_worker")
    return [
        _start(folder, run_dir, *arguments, TF_CONFIG=config)
        for config in processes.loopback_cluster(2)
    ]


def _finish(process, status=0):
    text, _ = process.communicate(timeout=600)
    assert process.returncode == status, text
    return text


def _assert_same_run(found, expected):
    records, wanted = _records(found), _records(expected)
    assert len(records) == 7
    for record, want in zip(records, wanted, strict=True):
        _assert_close(record, want)
    results, want = (
        json.loads((run_dir / "results.json").read_text())
        for run_dir in (found, expected)
    )
    _assert_close(results, want)
    assert _files(found) == _files(expected)


def _assert_close(found, want):
    """Numbers may round differently on other devices. All else has to be equal."""
    if isinstance(want, dict):
        assert found.keys() == want.keys()
        for name, value in want.items():
            _assert_close(found[name], value)
    elif isinstance(want, float):
        np.testing.assert_allclose(found, want, rtol=2e-5, atol=1e-6)
    else:
        assert found == want


def _records(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").open()]


def _files(run_dir):
    return sorted(
        str(path.relative_to(run_dir))
        for path in run_dir.rglob("*")
        if "tensorboard" not in path.parts
    )


def _start_small(run_dir, steps_to_die=(-1, -1)):
    """Starts two workers of a small training."""
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.worker_training", str(run_dir), str(step)],
            cwd=_ROOT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CONFIG": config},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for step, config in zip(
            steps_to_die, processes.loopback_cluster(2), strict=True
        )
    ]


@_LONG
def test_two_workers_train_as_one_and_go_on_where_one_was_lost(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    worker_training.train(one, distribution.Distribution())

    chief, worker = _start_small(two, steps_to_die=(-1, 3))
    text = _finish(chief, status=1)
    assert "Another worker is gone" in text and "Start all workers again" in text
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    state = two / "state" / "tiny"
    assert [path.name for path in state.iterdir()] == ["step-00000002"]

    chief, worker = _start_small(two)
    text = _finish(chief)
    assert "tiny continues at step 2 of 6" in text
    assert "tiny" not in _finish(worker)
    found, expected = _records(two), _records(one)
    assert [record["step"] for record in found] == [2, 4, 6]
    for record, want in zip(found, expected, strict=True):
        for name in ("loss", "top1"):
            np.testing.assert_allclose(record[name], want[name], rtol=1e-6)
    assert _files(two) == _files(one)


@_LONG
def test_two_devices_give_what_one_gives(folder, one_device, tmp_path):
    _finish(_start(folder, tmp_path, "--distribution=mirrored", "--logical_devices=2"))
    _assert_same_run(tmp_path, one_device)


@_LONG
def test_two_workers_give_what_one_device_gives(folder, one_device, tmp_path):
    for process in _start_workers(folder, tmp_path):
        _finish(process)
    _assert_same_run(tmp_path, one_device)


def test_every_replica_has_its_rows_of_every_array():
    """As the teacher's maps and what attention reads from them, of several layers."""

    class Strategy:
        @staticmethod
        def experimental_distribute_values_from_function(rows_of):
            return [
                rows_of(types.SimpleNamespace(replica_id_in_sync_group=number))
                for number in range(2)
            ]

    two = distribution.Distribution()
    two.strategy, two.num_replicas = Strategy(), 2
    rows = np.arange(6)
    batch = {"index": rows, "maps": ((rows + 10, rows + 20), (rows + 30, rows + 40))}
    for number, own in enumerate(two.split(batch)):
        here = slice(3 * number, 3 * number + 3)
        np.testing.assert_array_equal(own["index"], rows[here])
        found = np.array(own["maps"])
        np.testing.assert_array_equal(found, np.array(batch["maps"])[..., here])


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


@pytest.mark.parametrize("worker", [0, 1])
def test_of_several_workers_the_chief_alone_prints(capsys, worker):
    one = distribution.Distribution()
    one.worker = worker
    with one.one_speaks():
        print("a count")
        guards.warn("a bad video")
    print("the end")
    said = capsys.readouterr()
    assert said.out == ("a count\nthe end\n" if worker == 0 else "the end\n")
    # What is broken may be what this worker alone read.
    assert said.err == "Warning: a bad video\n"


def test_a_worker_notes_sigterm_although_tensorflow_handles_it_too(
    monkeypatch, tmp_path
):
    class Strategy:
        num_replicas_in_sync = 1
        cluster_resolver = None

        def __init__(self):
            # As TensorFlow's C++ does for several workers, and Python does not see it.
            ctypes.CDLL(None).signal(signal.SIGTERM, signal.SIG_IGN.value)

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", Strategy)
    monkeypatch.setenv("TF_CONFIG", "{}")
    config = small_run.config(tmp_path, tmp_path, "--distribution=multi_worker")
    with Interruption() as interruption, interruption.deferred():
        distribution.start(config)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
