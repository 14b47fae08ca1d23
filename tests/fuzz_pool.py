"""Runs the cases of a fuzzer in processes that may crash, hang or grow.

A fuzzer is a module with two functions:

    write_originals(folder): Writes the valid files that cases are made from.
    run_case(draws, originals, work): Mutates one into the folder `work` and reads it;
        `draws` is a `random.Random` of the case's own. Returns a word or two on how it
        ended, and raises whatever a user must not meet.

python -m tests.fuzz_recordings --cases=2000 --seed=0
python -m tests.fuzz_recordings --seed=0 --only=1234 --keep=/tmp/case
"""

import argparse
import collections
import importlib
import logging
import multiprocessing
import pathlib
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from multiprocessing import connection

from kd_keras.data.parallel import progress_bar

LIMIT_S = 10.0
LIMIT_BYTES = 2**30

_PAGE_BYTES = resource.getpagesize()
_READY = -1


class Fault(AssertionError):
    """What a mutated file must not do."""


def refusal(call, *names):
    """Returns (what `call` returns, None), or (None, the error) of a proper refusal.

    Args:
        names: Of which the message has to hold one: the file's, or the video's.
    Raises:
        Fault: The error names none of them, or is one that no command catches.
    """
    try:
        return call(), None
    except (ValueError, OSError) as error:
        # Such as UnicodeDecodeError: a ValueError, and no sentence for a user.
        is_ours = not isinstance(error, UnicodeError | ArithmeticError)
        if is_ours and any(str(name) in str(error) for name in names):
            return None, error
        raise Fault(f"not refused by name: {error!r}") from error


def fuzz(module, originals, seed, cases, workers=2, keep=None, shows=True):
    """Runs cases; returns how many ended in each way, and the faults by case.

    Args:
        module: Name of the fuzzer.
        originals: Folder that `write_originals` has filled.
        seed: Of all cases; a case depends on it and its number alone.
        cases: Numbers of the cases.
        workers: Processes at a time.
        keep: Folder for the mutated files of faulty cases; None keeps none.
        shows: Print progress.
    """
    waiting, ways, faults = collections.deque(cases), collections.Counter(), {}
    bar = progress_bar(len(waiting), "case", shows)
    with tempfile.TemporaryDirectory() as work:
        folders = [pathlib.Path(work) / str(k) for k in range(workers)]
        crew = [_Worker(module, originals, seed, folder) for folder in folders]
        try:
            while waiting or any(worker.case is not None for worker in crew):
                for worker in crew:
                    if worker.is_idle and waiting:
                        worker.begin(waiting.popleft())
                connection.wait([worker.pipe for worker in crew], timeout=0.2)
                for worker in crew:
                    case, ended = worker.case, worker.poll()
                    if ended is None:
                        continue
                    way, fault = ended
                    ways[way] += 1
                    if fault is not None:
                        faults[case] = fault
                        if keep is not None:
                            target = pathlib.Path(keep) / str(case)
                            shutil.copytree(worker.folder, target, dirs_exist_ok=True)
                        if shows:
                            print(f"\ncase {case}, seed {seed}: {fault}", flush=True)
                    bar.add(1)
        finally:
            for worker in crew:
                worker.end()
    return ways, faults


class _Worker:
    """A process that runs one case after the other, and its replacements."""

    def __init__(self, module, originals, seed, folder):
        self._arguments, self.folder = (module, originals, seed, folder), folder
        self._start()

    def _start(self):
        self.case, self.is_idle = None, False
        self.pipe, other = multiprocessing.Pipe()
        # What the parent has imported must not decide what a case meets.
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_work, args=(*self._arguments, other))
        self._process.start()
        other.close()

    def begin(self, case):
        self.case, self.is_idle, self._begin_s = case, False, time.monotonic()
        self.pipe.send(case)

    def poll(self):
        """(way, fault or None) of the case that has ended; None if none has."""
        if self.pipe.poll():
            try:
                answer = self.pipe.recv()
            except EOFError:
                return self._replaced("crashed")
            self.case, self.is_idle = None, True
            return None if answer == _READY else answer
        if self.case is not None and time.monotonic() - self._begin_s > LIMIT_S:
            return self._replaced(f"took longer than {LIMIT_S:g} s")
        return None

    def _replaced(self, reason):
        self.end()
        if self.case is None:
            raise RuntimeError(f"A worker cannot start; it {reason}.")
        self._start()
        return reason, f"the process {reason} (status {self._status})"

    def end(self):
        self._process.kill()
        self._process.join()
        self._status = self._process.exitcode
        self.pipe.close()


def _work(module, originals, seed, folder, pipe):
    """The life of a worker: case numbers come in, ways and faults go out."""
    logging.disable(logging.CRITICAL)
    fuzzer = importlib.import_module(module)
    before = _resident_bytes()
    # Far beyond what is a fault: keeps the machine alive. Addresses cost no memory,
    # and TensorFlow reserves many of them.
    limit = _address_bytes() + 4 * LIMIT_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    pipe.send(_READY)
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # Peaks from here on count.
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        way, fault = _try(fuzzer, random.Random(f"{seed} {case}"), originals, folder)
        grown = _peak_bytes() - before
        if fault is None and grown > LIMIT_BYTES:
            way, fault = "took too much", f"took {grown / 2**20:.0f} MiB"
        pipe.send((way, fault))


def _try(fuzzer, draws, originals, folder):
    try:
        return fuzzer.run_case(draws, originals, folder), None
    except BaseException:
        return "fault", traceback.format_exc(limit=-12)


def _peak_bytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def _address_bytes():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * _PAGE_BYTES


def _resident_bytes():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def main(module):
    """The command line of a fuzzer."""
    parser = argparse.ArgumentParser(
        description=importlib.import_module(module).__doc__
    )
    parser.add_argument("--cases", type=int, default=2000, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case alone")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", help="folder for the files of faulty cases")
    arguments = parser.parse_args()
    cases = range(arguments.cases) if arguments.only is None else [arguments.only]
    print(f"{module}: {len(cases)} cases of seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as originals:
        originals = pathlib.Path(originals)
        importlib.import_module(module).write_originals(originals)
        ways, faults = fuzz(
            module,
            originals,
            arguments.seed,
            cases,
            min(arguments.workers, len(cases)),
            arguments.keep,
        )
    print("\n" + "\n".join(f"{n:6d} {way}" for way, n in ways.most_common()))
    for case in sorted(faults):
        print(f"Again: python -m {module} --seed={arguments.seed} --only={case}")
    sys.exit(bool(faults))
