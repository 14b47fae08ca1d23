"""Which signals end a run, when, and which do not."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from train.loop.interruption import Interrupted, Interruption


def test_a_signal_outside_of_training_ends_at_once():
    with Interruption(), pytest.raises(Interrupted) as stopped:
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.code == 128 + signal.SIGTERM


def test_after_a_signal_sigint_ends_the_process():
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        with interruption.deferred():
            signal.raise_signal(signal.SIGTERM)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert interruption.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) == before


def test_nohup_keeps_a_training_going():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption, interruption.deferred():
            signal.raise_signal(signal.SIGHUP)
            assert interruption.signal is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_is_closed_leaves_what_was_saved(tmp_path):
    program = """
import os, pathlib, sys, time
# The first terminal that a session opens is its own.
os.dup2(os.open(sys.argv[2], os.O_RDWR), 1)
from kd_keras import console
from train.loop.interruption import Interruption
with console.reader_may_leave():
    with Interruption() as interruption, interruption.deferred():
        print("begun", flush=True)
        while interruption.signal is None:
            time.sleep(0.01)
        print("saving", flush=True)
        pathlib.Path(sys.argv[1]).write_text(str(interruption.signal))
"""
    saved = tmp_path / "saved"
    terminal, its_end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(saved), os.ttyname(its_end)],
        start_new_session=True,
    ) as process:
        assert b"begun" in os.read(terminal, 100)
        os.close(its_end)
        os.close(terminal)
    assert process.returncode == 0
    assert saved.read_text() == str(int(signal.SIGHUP))
