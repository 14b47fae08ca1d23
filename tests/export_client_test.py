import csv
import dataclasses
import io
import pathlib
import socket
import subprocess
import sys
import threading
from concurrent import futures

import numpy as np
import pytest

from export import anticipation, client, remote_student
from export.served_model import Asked
from kd_keras.data.segments import TEST
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import served_colors
from tests.model_server import ModelServer
from tests.session_models import SessionModels

PROTOCOLS = ("grpc", "rest")
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Model `name` with versions 3 and 4, and `flow`; a label of version 3."""
    folder = tmp_path_factory.mktemp("models")
    one_class = dataclasses.replace(served_colors.SPEC, classes=("old", "b", "c"))
    served_colors.write(folder / "name" / "3", one_class)
    served_colors.write(folder / "name" / "4")
    flow = dataclasses.replace(served_colors.SPEC.clip_format, modality="flow")
    spec = dataclasses.replace(served_colors.SPEC, clip_format=flow)
    served_colors.write(folder / "flow" / "1", spec)
    return SessionModels(
        {name: folder / name for name in ("name", "flow")}, labels={"stable": 3}
    )


@pytest.fixture(scope="module")
def server(models):
    with ModelServer(models) as server:
        yield server


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Three seconds that turn from red to green to blue."""
    file = tmp_path_factory.mktemp("videos") / "video.mp4"
    frames = np.zeros((30, 48, 64, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[..., i // 10] = 250 - 5 * i
    reading.write_video(file, frames, 10.0)
    return str(file)


def address(server, protocol):
    return getattr(server, f"{protocol}_address")


def asked(server, protocol, model="name", **changes):
    return Asked(address(server, protocol), model, **changes)


def student(server, protocol, **changes):
    return remote_student.RemoteStudent(
        remote_student.connect(asked(server, protocol, **changes))
    )


def table(**changes):
    text = io.StringIO()
    client.run(client.Request(**changes), text)
    return list(csv.DictReader(io.StringIO(text.getvalue())))


@each_protocol
def test_the_table_holds_what_the_student_gives_beside_the_video(
    server, video, protocol
):
    given = {"address": address(server, protocol), "model": "name", "video": video}
    rows = table(**given, every_s=0.25, batch_size=3)
    file = Video("video", pathlib.Path(video), TEST)
    expected = anticipation.anticipations(
        served_colors.probabilities,
        served_colors.SPEC,
        file,
        reading.probe(file),
        every_s=0.25,
    )
    expected = [
        (item.time_s, item.happens_s, name, probability)
        for item in expected
        for name, probability in zip(item.classes, item.probabilities, strict=True)
    ]
    assert len(rows) == len(expected) == 9 * 3
    for row, (time_s, happens_s, name, probability) in zip(rows, expected, strict=True):
        assert float(row["time_s"]) == pytest.approx(time_s, abs=1e-3)
        assert float(row["happens_s"]) == pytest.approx(happens_s, abs=1e-3)
        # JPEG changes colors a little.
        assert float(row["probability"]) == pytest.approx(probability, abs=0.02)
        assert row["class"] == name or probability < 0.45
    assert {row["class"] for row in rows} == set(served_colors.SPEC.classes)


@each_protocol
def test_clips_arrive_whole_and_in_order(server, protocol):
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 1, 1, 3), np.uint8)
    frames = np.broadcast_to(frames, (2, 4, 18, 18, 3))
    model = remote_student.connect(asked(server, protocol))
    found = remote_student.RemoteStudent(model, jpeg_quality=100)(frames)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(
        found, served_colors.probabilities(frames), atol=0.02, rtol=0
    )
    assert np.ptp(found, axis=0).max() > 0.1


@each_protocol
def test_versions_and_labels_choose(server, protocol):
    classes = [
        student(server, protocol, **chosen).spec.classes[0]
        for chosen in ({}, {"version": 4}, {"version": 3}, {"label": "stable"})
    ]
    assert classes == ["red", "red", "old", "old"]


@each_protocol
def test_an_address_may_end_in_a_slash(server, protocol):
    given = Asked(f"{address(server, protocol)}/", "name", retries=0)
    assert "describe" in remote_student.connect(given).signatures


@each_protocol
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "nothing"}, "There is no model 'nothing' at .*NOT_FOUND"),
        (
            {"version": 7},
            r"There is no version 7 of model 'name' at .*; the model has the versions "
            r"\[3, 4\]\. It says: NOT_FOUND",
        ),
        (
            {"label": "canary"},
            r"There is no version labeled 'canary' of model 'name' at .*; the model "
            r"has the versions \[3, 4\]\. It says: INVALID_ARGUMENT",
        ),
        ({"model": "flow"}, "takes flow, which is not sent as JPEG"),
        ({"version": 3, "label": "stable"}, "--version and --label name one version"),
    ],
)
def test_what_is_asked_wrongly_is_named(server, protocol, changes, error):
    with pytest.raises(ValueError, match=error):
        student(server, protocol, **changes)


@each_protocol
def test_unknown_signatures_and_outputs_are_named(server, protocol):
    model = remote_student.connect(asked(server, protocol))
    clips = {"clips": np.zeros(1, np.int32)}
    with pytest.raises(ValueError, match="no signature 'serve' in model 'name' at"):
        model.predict("serve", clips, ("student_json",))
    with pytest.raises(ValueError, match=r"the outputs \['student_json'\], but not"):
        model.predict("describe", clips, ("label",))


@each_protocol
def test_what_the_server_refuses_is_told_and_not_asked_again(server, protocol):
    model = remote_student.connect(asked(server, protocol))
    broken = {"encoded_frames": np.array([[b"no JPEG"]], dtype=object)}
    before = server.models.calls
    with pytest.raises(ValueError, match="refuses the request. It says: INVALID_ARG"):
        model.predict("encoded_frames", broken, ("probabilities",))
    assert server.models.calls == before + 1


@each_protocol
def test_an_overloaded_server_is_asked_again_and_no_other(server, protocol):
    one = {"clips": np.zeros(1, np.int32)}
    model = remote_student.connect(asked(server, protocol, retries=3))
    before = server.models.calls
    server.models.fails_next = ["UNAVAILABLE"] * 2
    assert model.predict("describe", one, ("student_json",))
    assert server.models.calls == before + 3
    server.models.fails_next = ["INTERNAL"]
    with pytest.raises(OSError, match="INTERNAL"):
        model.predict("describe", one, ("student_json",))
    assert server.models.calls == before + 4
    model = remote_student.connect(asked(server, protocol, retries=1))
    server.models.fails_next = ["UNAVAILABLE"] * 2
    with pytest.raises(ConnectionError, match="overloaded, with --retries=1: is"):
        model.predict("describe", one, ("student_json",))
    assert server.models.calls == before + 6


@each_protocol
def test_a_late_answer_is_not_waited_for(server, protocol):
    model = remote_student.connect(asked(server, protocol, timeout_s=0.2))
    server.models.delay_s = 1.0
    try:
        with pytest.raises(TimeoutError, match=r"no answer within --timeout_s=0\.2"):
            model.predict(
                "describe", {"clips": np.zeros(1, np.int32)}, ("student_json",)
            )
    finally:
        server.models.delay_s = 0.0


@each_protocol
def test_a_server_that_is_down_is_named(protocol):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        scheme = {"grpc": "grpc", "rest": "http"}[protocol]
        asked = Asked(f"{scheme}://127.0.0.1:{port}", "name", retries=1)
        with pytest.raises(ConnectionError, match="is the server up, and is this the"):
            remote_student.connect(asked)


def test_the_port_of_the_other_protocol_is_named(server):
    rest = server.grpc_address.replace("grpc://", "http://")
    grpc = server.rest_address.replace("http://", "grpc://")
    for wrong in (rest, grpc):
        with pytest.raises(ConnectionError, match="8500 for gRPC, 8501 for REST"):
            remote_student.connect(Asked(wrong, "name", timeout_s=5, retries=0))
    with pytest.raises(ValueError, match="--address must be grpc://HOST:8500 or"):
        remote_student.connect(Asked("localhost:8500", "name"))


@each_protocol
def test_eight_clients_at_a_time_get_their_own_answers(server, protocol):
    start = threading.Barrier(8)

    def ask(seed):
        frames = np.random.default_rng(seed).integers(0, 256, (1, 4, 1, 1, 3), np.uint8)
        frames = np.broadcast_to(frames, (1, 4, 18, 18, 3))
        one = student(server, protocol)
        start.wait()
        return [one(frames) for _ in range(5)], served_colors.probabilities(frames)

    with futures.ThreadPoolExecutor(8) as threads:
        for found, expected in threads.map(ask, range(8)):
            for answer in found:
                np.testing.assert_allclose(answer, expected, atol=0.03)


@each_protocol
def test_large_requests_pass(server, protocol):
    """Beyond 4 MB, at which gRPC stops unless told otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 4, 300, 300, 3), np.uint8)
    model = remote_student.connect(asked(server, protocol, timeout_s=60))
    found = remote_student.RemoteStudent(model, jpeg_quality=100)(noise)
    np.testing.assert_allclose(found, served_colors.probabilities(noise), atol=0.02)


def test_the_command_line(server, video):
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "export.client", f"--video={video}", *arguments],
            cwd=pathlib.Path(client.__file__).parents[1],
            capture_output=True,
            text=True,
        )

    done = call(f"--address={server.grpc_address}", "--model=name", "--top_k=1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "time_s,happens_s,rank,class,probability"
    assert [line.split(",")[:2] for line in lines[1:]] == [
        [f"{i / 2:.3f}", f"{i / 2 + 0.5:.3f}"] for i in range(2, 7)
    ]
    done = call(f"--address={server.rest_address}", "--model=nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("client: There is no model 'nothing' at http://")
    assert done.stderr.count("\n") == 1
