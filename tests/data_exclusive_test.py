"""One process in a folder: who is let in, whose place is taken, and what is said."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from kd_keras.data import exclusive

_HOLDS = """
import sys, time
from kd_keras.data import exclusive
with exclusive.exclusive_lock(sys.argv[1]):
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    path = tmp_path / "a [b]"
    return str(path) if request.param == "local" else f"file://{path}"


def _lock(folder):
    return os.path.join(folder.removeprefix("file://"), exclusive.LOCK)


def _enter(folder):
    with exclusive.exclusive_lock(folder):
        pass


def _holder(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "in\n"
    return process


def _change(folder, **values):
    with open(_lock(folder)) as file:
        content = json.load(file)
    with open(_lock(folder), "w") as file:
        json.dump(content | values, file)


def test_a_second_process_is_told_of_the_first(folder):
    first = _holder(folder)
    host, process = socket.gethostname(), first.pid
    with pytest.raises(
        exclusive.InUseError,
        match=rf"is in use: process {process} of {host}, since \d{{4}}-\d\d-\d\d \d\d:",
    ):
        _enter(folder)
    first.communicate("")
    assert not os.path.exists(_lock(folder))
    _enter(folder)
    # A killed one leaves its file, which the next takes over.
    first = _holder(folder)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert os.path.exists(_lock(folder))
    _enter(folder)
    assert os.listdir(folder.removeprefix("file://")) == []


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_what_is_no_folder_is_named(tmp_path, name):
    taken = tmp_path / "taken"
    for make, what in (
        (taken.touch, "a file"),
        (lambda: taken.symlink_to("nowhere"), "a link to nothing"),
    ):
        make()
        with pytest.raises(
            OSError, match=f"{name} must be a folder, and {taken} is {what}. Remove"
        ):
            _enter(tmp_path / name)
        taken.unlink()


def test_the_number_of_a_process_may_come_again(folder):
    with exclusive.exclusive_lock(folder):
        _change(folder, started=1)
        _enter(folder)


def test_another_machine_is_not_judged_from_here(folder):
    with exclusive.exclusive_lock(folder):
        _change(folder, host="elsewhere", process=2**22 + 1)
        with pytest.raises(exclusive.InUseError, match="elsewhere, .* delete .*lock"):
            exclusive.require_free(folder)
        with pytest.raises(exclusive.InUseError, match="of elsewhere"):
            _enter(folder)
    # It is not this process's any more.
    os.remove(_lock(folder))
    _enter(folder)


def test_one_process_has_one_turn_at_a_time(folder):
    with exclusive.exclusive_lock(folder), pytest.raises(exclusive.InUseError):
        _enter(folder)
    with pytest.raises(KeyError), exclusive.exclusive_lock(folder):
        raise KeyError
    assert not os.path.exists(_lock(folder))


def test_of_many_processes_that_take_over_one_wins(tmp_path):
    with exclusive.exclusive_lock(tmp_path):
        _change(str(tmp_path), started=1, use="gone")
        left = (tmp_path / exclusive.LOCK).read_bytes()
    (tmp_path / exclusive.LOCK).write_bytes(left)
    program = _HOLDS.replace("sys.stdin.read()", "time.sleep(1)")
    several = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    said = [process.communicate() for process in several]
    assert sum(out == "in\n" for out, _ in said) >= 1
    for (out, err), process in zip(said, several, strict=True):
        assert (process.returncode == 0) == (out == "in\n"), err
        assert process.returncode == 0 or "InUseError" in err
    assert os.listdir(tmp_path) == []
