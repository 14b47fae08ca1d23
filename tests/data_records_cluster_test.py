"""Shards that a Dask cluster writes are those of one process; what is wrong is named.

`make test-cluster` has distributed, and kills a worker of three processes.
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.records import clips as clip_records
from kd_keras.data.records import cluster, shard_writer
from kd_keras.data.segments import TRAIN, Clip
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import kill_preparation, long_tests, loopback_dask, numbered_video, small_run

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LONG = long_tests.run_by("test-cluster")
_FORMAT = ClipFormat(num_frames=4, image_size=28)
_KINDS = {
    "clips": ["--kind=clips"],
    "flow": ["--modality=flow", "--flow_method=dis"],
    "features": ["--kind=features", "--views=2"],
}


@pytest.fixture(scope="module")
def distributed():
    return pytest.importorskip("distributed", reason="make test-cluster has it.")


@pytest.fixture(scope="module")
def scheduler(distributed):
    """The address of a scheduler with a worker, both threads of this process."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as local:
        local.scheduler.allowed_failures = 0
        yield local.scheduler_address


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    videos = {
        name: Video(name, numbered_video.write(folder / name, 60, frame_rate=20), TRAIN)
        for name in ("a.mp4", "b.mp4")
    }
    infos = {name: reading.probe(video) for name, video in videos.items()}
    return clip_records.ClipRecorder(videos, infos, _FORMAT)


def _write(folder, recorder, **options):
    clips = [
        Clip(name, k / 4, k / 4 + 1) for name in ("a.mp4", "b.mp4") for k in (1, 5)
    ]
    return shard_writer.write_shards(
        folder,
        clip_records.clip_shards(clips, 1),
        recorder,
        kind=clip_records.KIND,
        fingerprint=clip_records.format_values(_FORMAT),
        rerun_command="",
        expected_bytes=1,
        progress=False,
        **options,
    )


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_without_the_package_it_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"pip install distributed==[\d.]+$"):
        cluster.Cluster("tcp://127.0.0.1:8786")
    assert f'cluster = ["{cluster.PACKAGE}"]' in (_ROOT / "pyproject.toml").read_text()
    assert f" {cluster.PACKAGE}\n" in (_ROOT / "Makefile").read_text()


def test_a_job_carries_what_its_keys_need(recorder):
    part = recorder.part([("a.mp4", 0.25, 1.25)])
    (path,) = part.paths()
    assert path.name == "a.mp4"
    with pytest.raises(KeyError):
        list(part([("b.mp4", 0.25, 1.25)]).records)


def test_a_cluster_writes_the_bytes_of_one_process(scheduler, recorder, tmp_path):
    _write(tmp_path / "here", recorder)
    with cluster.Cluster(scheduler) as run_jobs:
        _write(tmp_path / "there", recorder, run_jobs=run_jobs)
    assert len(_contents(tmp_path / "here")) == 5
    assert _contents(tmp_path / "there") == _contents(tmp_path / "here")


def test_a_file_that_a_worker_does_not_see_is_named(
    scheduler, recorder, tmp_path, monkeypatch
):
    _write(tmp_path, recorder)
    key, packed = ("a.mp4", 0.25, 1.25), cluster._packed
    (path,) = recorder.part([key]).paths()

    def hides(job):
        content = packed(job)
        path.rename(path.with_suffix(".hidden"))
        return content

    monkeypatch.setattr(cluster, "_packed", hides)
    job = shard_writer.ShardJob(tmp_path, "x.tfrecord", [key], recorder)
    with (
        pytest.raises(ValueError, match=rf"worker \S+ does not see {path}\. Every"),
        cluster.Cluster(scheduler) as run_jobs,
    ):
        list(run_jobs([job]))
    path.with_suffix(".hidden").rename(path)
    assert not (tmp_path / "x.tfrecord").exists()


def _versions():
    """As if the worker, which is another thread here, had another version."""
    is_here = threading.current_thread() is threading.main_thread()
    return {"av": "1.2.3" if is_here else "4.5.6"}


def test_another_version_on_a_worker_is_named(scheduler, monkeypatch):
    monkeypatch.setattr(cluster, "versions", _versions)
    with (
        pytest.raises(
            ValueError, match=r"worker \S+ has av 4.5.6 instead of 1.2.3, and"
        ),
        cluster.Cluster(scheduler),
    ):
        pass


@pytest.mark.parametrize(
    "address, reason",
    [
        ("nonsense", "missing port"),
        ("http://127.0.0.1:8787", "unknown address scheme"),
        ("/none/scheduler.json", "No such file"),
    ],
)
def test_an_address_without_a_scheduler_is_refused(distributed, address, reason):
    with pytest.raises(ValueError, match=rf"--scheduler={address} \(.*{reason}.*Start"):
        cluster.Cluster(address)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    folder = small_run.write_data_set(work / "data")
    kill_preparation._make_teacher(folder, work)
    return folder


def _command(data_set, kind, output, *more):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "train.prepare"),
            *small_run.arguments(data_set, data_set.parent / "run"),
            *("--shard_records=1", f"--output={output}", *_KINDS[kind], *more),
        ],
        cwd=_ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )


@_LONG
@pytest.mark.parametrize("kind", _KINDS)
def test_a_killed_worker_and_a_killed_command_leave_no_trace(
    distributed, data_set, kind, tmp_path
):
    here, there, permits = (tmp_path / name for name in ("here", "there", "permits"))
    permits.mkdir()
    assert _command(data_set, kind, here).wait() == 0
    with (
        loopback_dask.processes(3, permits) as file,
        distributed.Client(scheduler_file=str(file), set_as_default=False) as client,
    ):
        client.wait_for_workers(3, timeout=600)
        more = f"--scheduler={file}"
        command = _command(data_set, kind, there, more)
        _wait_until(lambda: _at_work(client))
        os.kill(client.run(os.getpid)[_at_work(client)[0]], signal.SIGKILL)
        for number in range(4):
            (permits / str(number)).touch()
        _wait_until(lambda: len(_shards(there)) == 4)
        command.kill()
        assert command.wait() == -signal.SIGKILL
        assert len(_shards(there)) < len(_shards(here))
        (permits / "any").touch()
        assert _command(data_set, kind, there, more).wait() == 0
        assert len(client.scheduler_info()["workers"]) == 2
    assert _contents(there) == _contents(here)


def _at_work(client):
    """The workers that have a shard to write."""
    return [
        worker
        for worker, keys in client.processing().items()
        if any(key.startswith("_run") for key in keys)
    ]


def _shards(folder):
    return list(folder.glob("[!.]*.tfrecord"))


def _wait_until(is_so):
    while not is_so():
        time.sleep(0.05)
