"""Runs the jobs of a table, on as many devices as there are."""

import concurrent.futures
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence

from kd_keras.data import remote
from kd_keras.data.parallel import progress_bar
from train.flags import config
from train.table import plan
from train.table.plan import Job

# How the errors of a run begin, and what follows one about flags.
_ERRORS = ("Error: ", "python -m train.main: ")
_HELP = "python -m train.main --help lists the flags."


class JobsFailedError(RuntimeError):
    """Some runs of a table failed. The others are kept."""


def run(jobs: Sequence[Job], devices: Sequence[str] = ()) -> None:
    """Runs the jobs that are not done; what they print is in log.txt of each run.

    A job that was interrupted goes on where it stopped.

    Args:
        jobs: All jobs of the table, each behind the one that it comes after.
        devices: Numbers of GPUs, each of which has one run at a time. None runs one
            job after the other on what TensorFlow finds.
    Raises:
        JobsFailedError: After all jobs, with rows and error of each that failed.
    """
    todo = [job for job in jobs if not job.is_done]
    print(f"{len(jobs)} runs, of which {len(jobs) - len(todo)} are done.", flush=True)
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for device in devices or (None,):
        free.put(device)

    children: set[subprocess.Popen[bytes]] = set()
    stopped = threading.Event()

    def work(
        job: Job, before: "concurrent.futures.Future[str | None] | None"
    ) -> str | None:
        if before is not None:
            # It was submitted earlier, so it runs or has ended.
            concurrent.futures.wait([before])
        device = free.get()
        try:
            # A job that waited for another may still be here after a signal.
            return None if stopped.is_set() else _run(job, device, children)
        finally:
            free.put(device)

    progress = progress_bar(len(todo), "run", shows=bool(todo))
    problems = []
    with concurrent.futures.ThreadPoolExecutor(len(devices) or 1) as executor:
        running: dict[Job | None, concurrent.futures.Future[str | None]] = {}
        for job in todo:
            running[job] = executor.submit(work, job, running.get(job.after))
        try:
            for done in concurrent.futures.as_completed(running.values()):
                if (problem := done.result()) is not None:
                    problems.append(problem)
                progress.add(1)
        except BaseException as error:
            stopped.set()
            # Ctrl-C reaches runs too, and other signals do not. They save what they
            # have.
            if not isinstance(error, KeyboardInterrupt):
                for child in list(children):
                    child.terminate()
            executor.shutdown(cancel_futures=True)
            raise
    if problems:
        raise JobsFailedError(
            f"{len(problems)} of {len(jobs)} runs failed, and the table needs them. "
            "Solve that and give the same command again:\n" + "\n".join(problems)
        )


def _run(
    job: Job, device: str | None, children: "set[subprocess.Popen[bytes]]"
) -> str | None:
    """Runs a job; returns what is wrong, or None. It is a child as long as it runs."""
    remote.make_folder(job.folder)
    given = config.flagfile_of(config.given(job.flags))
    (job.folder / plan.GIVEN).write_text(given, encoding="utf-8")
    log = job.folder / "log.txt"
    environment = dict(os.environ)
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    with open(log, "a", encoding="utf-8") as file:
        # What earlier attempts said stays before it.
        begin = file.tell()
        with subprocess.Popen(
            [sys.executable, *job.arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        ) as child:
            children.add(child)
            status = child.wait()
            children.discard(child)
    if status == 0:
        return None
    said = log.read_bytes()[begin:].decode(errors="replace")
    return f"{job.name}: {log}: {_reason(said, status)}"


def _reason(said: str, status: int) -> str:
    """What a run that failed says of it: its error, or else its last line."""
    lines = [line for line in said.splitlines() if line.strip() and line != _HELP]
    last = [n for n, line in enumerate(lines) if line.startswith(_ERRORS)][-1:]
    reason = "\n".join(lines[last[0] :] if last else lines[-1:])
    if status < 0:
        # Nothing tells of a signal that ends a process at once.
        reason = f"signal {-status} ended it. {reason}"
    return reason.strip() or f"status {status}"
