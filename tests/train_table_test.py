"""Tables of experiments, over runs that a stand-in for train.main writes."""

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import signal
import threading
import time
import types

import matplotlib
import numpy as np
import pytest
from absl import flags

from kd_keras import statistics
from train import predictions
from train.flags import config as config_lib
from train.table import __main__ as table
from train.table import files, plan, running, scores

_TABLES = sorted(
    (pathlib.Path(__file__).resolve().parents[1] / "configs/tables").glob("*.flags")
)
_CLIPS, _CLASSES = 40, 3
_VIDEOS = np.array([f"v{clip // 4}" for clip in range(_CLIPS)])
_LABELS = np.arange(_CLIPS) % _CLASSES
_ROWS = [
    plan.Row("majority", "majority"),
    plan.Row("teacher", "teacher.future"),
    plan.Row("labels", "labels"),
    plan.Row("L_d", "attention"),
    plan.Row("dark", "labels", ("--brightness=0.2",)),
]
_RIGHT = {"teacher.future": 30, "students.labels": 16, "students.attention": 24}


def _write_run(job, shift=0, videos=_VIDEOS, clusters=_VIDEOS, labels=_LABELS):
    """A run whose networks are right about their first clips."""
    seed = int(job.flags[-2].partition("=")[2])
    logits = {}
    for name, right in _RIGHT.items():
        said = np.where(np.arange(_CLIPS) < right + seed, _LABELS, (_LABELS + 1) % 3)
        logits[name] = np.eye(_CLASSES, dtype=np.float32)[said]
    job.folder.mkdir(parents=True)
    (job.folder / "results.json").write_text(
        json.dumps({"majority": {"top1": 0.4}, "num_evaluated": _CLIPS})
    )
    times_s = np.full((_CLIPS, 4), float(shift))
    predictions.write(
        job.folder / predictions.FILE,
        predictions.Predictions(labels, videos, clusters, times_s, logits),
    )


def _jobs(folder, seeds=(0, 2), splits=(1,)):
    return plan.jobs(_ROWS, ["--batch_size=8"], splits, seeds, folder)


def test_rows_of_the_same_flags_share_their_runs(tmp_path):
    jobs = _jobs(tmp_path, splits=(1, 3))
    assert len(jobs) == 2 * 2 * 2
    job = jobs[(), 3, 2]
    assert job.arguments == [
        *("-m", "train.main", "--batch_size=8", "--students=labels,attention"),
        *("--split=3", "--seed=2", "--noexport", f"--run_dir={job.folder}"),
    ]
    assert "--students=labels" in jobs[("--brightness=0.2",), 1, 0].flags
    assert len({job.folder for job in jobs.values()}) == len(jobs)
    # The order of rows of other flags moves no folder.
    turned = plan.jobs(_ROWS[::-1][:1], ["--batch_size=8"], (1,), (0,), tmp_path)
    assert list(turned.values()) == [jobs[("--brightness=0.2",), 1, 0]]


def test_a_flag_may_name_the_split(tmp_path):
    jobs = plan.jobs(_ROWS, ["--annotations=fold{split}.csv"], (1, 3), (0,), tmp_path)
    for split in (1, 3):
        given = jobs[(), split, 0].flags
        assert f"--annotations=fold{split}.csv" in given
        # --split is for data sets that have splits of their own.
        assert not any(flag.startswith("--split") for flag in given)


def test_a_shared_teacher_is_the_one_of_the_first_row(tmp_path):
    jobs = plan.jobs(_ROWS, [], (1,), (0, 2), tmp_path, shared_teacher=True)
    for seed in (0, 2):
        first, dark = jobs[(), 1, seed], jobs[("--brightness=0.2",), 1, seed]
        assert dark.after == first and first.after is None
        assert f"--teacher={first.folder}/teacher.keras" in dark.flags
        assert not any(flag.startswith("--teacher=") for flag in first.flags)
        # A run with a teacher of its own is another run.
        own = plan.jobs(_ROWS, [], (1,), (0, 2), tmp_path)
        assert own[(), 1, seed] == first
        assert own[("--brightness=0.2",), 1, seed].folder != dark.folder


def _stand_in(train, monkeypatch):
    """Runs call `train`, which returns their status, and start no process."""

    class Child(contextlib.nullcontext):
        def __init__(self, *arguments, **options):
            super().__init__(self)
            self._status = train(*arguments, **options)

        def wait(self):
            return self._status

    module = types.SimpleNamespace(Popen=Child, STDOUT=None)
    monkeypatch.setattr(running, "subprocess", module)


def test_a_job_waits_for_the_one_that_trains_its_teacher(tmp_path, monkeypatch):
    jobs = plan.jobs(_ROWS, [], (1,), (0,), tmp_path, shared_teacher=True)
    teacher_is_there = []

    def train(arguments, **_):
        folder = pathlib.Path(arguments[-1].partition("=")[2])
        if folder == jobs[(), 1, 0].folder:
            time.sleep(0.5)
            (folder / "teacher.keras").touch()
        else:
            [given] = [flag for flag in arguments if flag.startswith("--teacher=")]
            teacher_is_there.append(pathlib.Path(given.partition("=")[2]).exists())
        return 0

    _stand_in(train, monkeypatch)
    running.run(list(jobs.values()), ["0", "1"])
    assert teacher_is_there == [True]


def test_scores_are_means_over_seeds_with_paired_gains(tmp_path):
    jobs = _jobs(tmp_path)
    for job in jobs.values():
        _write_run(job)
    found = scores.scores(_ROWS, [jobs], (1,), (0, 2))
    by_title = {score.row.title: score for score in found}
    assert by_title["majority"].by_seed == (40.0, 40.0)
    assert by_title["labels"].by_seed == pytest.approx((40.0, 45.0))
    labels, distilled = by_title["labels"], by_title["L_d"]
    assert labels.mean.mean == pytest.approx(42.5)
    assert labels.deviation == pytest.approx(np.sqrt(12.5))
    # Every row with a network is compared with every other, both ways.
    networks = {"teacher", "labels", "L_d", "dark"}
    for title, score in by_title.items():
        assert set(score.over) == (networks - {title} if title in networks else set())
    gain = distilled.over["labels"].top1
    # 8 of 40 clips in each seed.
    assert gain.mean == pytest.approx(20.0)
    assert labels.over["L_d"].top1.mean == pytest.approx(-20.0)
    # A wrong clip has 1 nat more than a right one, as its logits are 0 and 1.
    right = np.log(np.e + 2) - 1
    assert labels.loss.mean == pytest.approx(right + 0.575)
    assert distilled.loss.mean == pytest.approx(right + 0.375)
    assert by_title["majority"].loss is None
    scaled = {}
    for name in ("labels", "attention"):
        runs = [
            predictions.read(jobs[(), 1, seed].folder / predictions.FILE)
            for seed in (0, 2)
        ]
        losses = [
            statistics.cross_fitted_losses(
                run.labels, run.logits[f"students.{name}"], run.clusters
            )
            for run in runs
        ]
        scaled[name] = np.mean(losses)
    assert labels.scaled_loss.mean == pytest.approx(scaled["labels"])
    difference = scaled["attention"] - scaled["labels"]
    assert distilled.over["labels"].scaled_loss.mean == pytest.approx(difference)
    # They lie in two of ten videos, and a draw of videos may have neither.
    assert gain.low == 0 and 20 < gain.high < 60
    assert by_title["dark"].over["labels"].top1 == statistics.Interval(0, 0, 0)


def test_a_difference_has_the_interval_of_the_paired_differences(tmp_path):
    jobs = _jobs(tmp_path)
    for job in jobs.values():
        _write_run(job)
    found = {s.row.title: s for s in scores.scores(_ROWS, [jobs], (1,), (0, 2))}
    by_seed = []
    for seed in (0, 2):
        run = predictions.read(jobs[(), 1, seed].folder / predictions.FILE)
        teacher, labels = (
            100.0 * (run.logits[name].argmax(1) == run.labels)
            for name in ("teacher.future", "students.labels")
        )
        by_seed.append(teacher - labels)
    expected = statistics.mean_interval(by_seed, _VIDEOS)
    assert found["teacher"].over["labels"].top1 == expected


def test_groups_of_videos_are_drawn_together(tmp_path):
    """Both halves of the clips gain 20 %, so every draw of halves does."""
    jobs = _jobs(tmp_path, seeds=(0,))
    halves = np.repeat(["group a", "group b"], _CLIPS // 2)
    for job in jobs.values():
        _write_run(job, clusters=halves)
    gain = scores.scores(_ROWS, [jobs], (1,), (0,))[3].over["labels"].top1
    assert (gain.mean, gain.low, gain.high) == pytest.approx((20.0, 20.0, 20.0))


def test_other_videos_of_the_same_groups_are_not_compared(tmp_path):
    jobs = _jobs(tmp_path, seeds=(0,))
    for job in jobs.values():
        videos = np.roll(_VIDEOS, 4) if "--brightness=0.2" in job.flags else _VIDEOS
        _write_run(job, videos=videos, clusters=np.repeat("group a", _CLIPS))
    with pytest.raises(
        ValueError, match="'dark' and 'teacher' evaluate different clips"
    ):
        scores.scores(_ROWS, [jobs], (1,), (0,))


def test_other_labels_of_the_same_videos_are_not_compared(tmp_path):
    jobs = _jobs(tmp_path, seeds=(0,))
    for job in jobs.values():
        is_dark = "--brightness=0.2" in job.flags
        _write_run(job, labels=np.roll(_LABELS, 1) if is_dark else _LABELS)
    with pytest.raises(ValueError, match="'dark' and 'teacher' .* the labels of those"):
        scores.scores(_ROWS, [jobs], (1,), (0,))


def test_rows_may_have_other_lead_times(tmp_path):
    jobs = _jobs(tmp_path, seeds=(0,))
    for job in jobs.values():
        _write_run(job, shift="--brightness=0.2" in job.flags)
    found = {s.row.title: s for s in scores.scores(_ROWS, [jobs], (1,), (0,))}
    assert found["dark"].over["labels"].top1 == statistics.Interval(0, 0, 0)


def test_splits_are_put_together(tmp_path):
    jobs = _jobs(tmp_path, seeds=(0,), splits=(1, 2))
    for job in jobs.values():
        _write_run(job)
    [found] = scores.scores(_ROWS[2:3], [jobs], (1, 2), (0,))
    assert found.by_seed == pytest.approx((40.0,)) and found.deviation is None


def test_a_recording_that_two_splits_evaluate_is_drawn_as_one(tmp_path):
    """Its clips resemble each other in both, so two splits tell no more than one."""
    intervals = []
    for splits in ((1,), (1, 2)):
        jobs = _jobs(tmp_path / str(splits), seeds=(0,), splits=splits)
        for job in jobs.values():
            _write_run(job)
        found = scores.scores(_ROWS, [jobs], splits, (0,))
        labels, attention = found[2], found[3]
        gain = attention.over["labels"]
        intervals.append((labels.mean, labels.loss, gain.top1))
    for one, two in zip(*intervals, strict=True):
        assert (one.mean, one.low, one.high) == pytest.approx(
            (two.mean, two.low, two.high)
        )


def test_a_split_may_know_fewer_classes(tmp_path):
    jobs = _jobs(tmp_path, seeds=(0,), splits=(1, 2))
    for (_, split, _), job in jobs.items():
        _write_run(job)
        if split == 2:
            path = job.folder / predictions.FILE
            known = predictions.read(path)
            more = {n: np.pad(v, ((0, 0), (0, 2))) for n, v in known.logits.items()}
            predictions.write(path, dataclasses.replace(known, logits=more))
    [found] = scores.scores(_ROWS[2:3], [jobs], (1, 2), (0,))
    assert found.by_seed == pytest.approx((40.0,))
    # Of three and of five classes, each with 24 of 40 wrong clips.
    expected = np.mean([np.log(np.e + others) for others in (2, 4)]) - 0.4
    assert found.loss.mean == pytest.approx(expected)
    assert 0 < found.scaled_loss.mean < 2


def test_runs_of_other_clips_are_not_compared(tmp_path):
    jobs = _jobs(tmp_path)
    for number, job in enumerate(jobs.values()):
        _write_run(job, shift=number)
    with pytest.raises(ValueError, match="'labels' on split 1 evaluate different"):
        scores.scores(_ROWS[2:3], [jobs], (1,), (0, 2))


def test_what_is_done_is_not_run_again_and_failures_are_named(tmp_path, monkeypatch):
    jobs = list(_jobs(tmp_path).values())
    _write_run(jobs[0])
    called = []

    def train(arguments, stdout, env, **_):
        called.append((arguments[-1], env.get("CUDA_VISIBLE_DEVICES")))
        stdout.write("Error: no such folder\n")
        stdout.flush()
        return int(len(called) == 2)

    _stand_in(train, monkeypatch)
    with pytest.raises(running.JobsFailedError) as raised:
        running.run(jobs, ["5"])
    assert sorted(folder for folder, _ in called) == sorted(
        f"--run_dir={job.folder}" for job in jobs[1:]
    )
    assert {device for _, device in called} == {"5"}
    text = str(raised.value)
    assert "1 of 4 runs failed" in text and "log.txt: Error: no such folder" in text
    assert "dark (split 1, seed 0): " in text


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        (
            "python -m train.main: Unknown command line flag 'brigtness'.\n"
            "python -m train.main --help lists the flags.\n",
            1,
            "python -m train.main: Unknown command line flag 'brigtness'.",
        ),
        (
            "teacher 6/6\nError: The data set has 2 problems:\n  one\n  two\n",
            1,
            "Error: The data set has 2 problems:\n  one\n  two",
        ),
        ("Traceback:\n  line 1\nKeyError: 'a'\n", 1, "KeyError: 'a'"),
        ("teacher 6/6\n", -9, "signal 9 ended it. teacher 6/6"),
        ("", 3, "status 3"),
    ],
)
def test_a_run_that_failed_is_told_of_by_its_own_error(
    said, status, expected, tmp_path, monkeypatch
):
    job = next(iter(_jobs(tmp_path).values()))
    job.folder.mkdir(parents=True)
    (job.folder / "log.txt").write_text("Error: of an attempt before\n")

    def train(*_, stdout, **__):
        stdout.write(said)
        stdout.flush()
        return status

    _stand_in(train, monkeypatch)
    with pytest.raises(running.JobsFailedError) as raised:
        running.run([job])
    assert str(raised.value).endswith(f"log.txt: {expected}")


def test_a_flagfile_that_changed_is_noticed(tmp_path):
    flagfile = tmp_path / "scenes.flags"
    flagfile.write_text("--student_steps=20\n--num_frames=9\n")
    rows, given = _ROWS[2:3], [f"--flagfile={flagfile}", f"--teacher={tmp_path}/a"]
    (job,) = plan.jobs(rows, given, (1,), (0,), tmp_path).values()
    _write_run(job)
    plan.check_flags([job])
    lines = config_lib.to_flagfile(config_lib.from_arguments(job.flags))
    (job.folder / "run.flags").write_text(lines)
    plan.check_flags([job])
    flagfile.write_text("--student_steps=30\n--num_frames=9\n")
    with pytest.raises(ValueError, match="--student_steps was 20, now 30. Give the"):
        plan.check_flags([job])


def test_a_flag_that_a_flagfile_gives_no_more_is_noticed(tmp_path, monkeypatch):
    flagfile = tmp_path / "scenes.flags"
    flagfile.write_text("--mixup=0.3\n--temperature=1\n--balanced\n")
    (job,) = plan.jobs(
        _ROWS[2:3], [f"--flagfile={flagfile}"], (1,), (0,), tmp_path
    ).values()
    _stand_in(lambda *_, **__: 0, monkeypatch)
    running.run([job])
    assert not job.is_done
    kept = (job.folder / plan.GIVEN).read_text()
    job.folder.rename(tmp_path / "aside")
    _write_run(job)
    (job.folder / plan.GIVEN).write_text(kept)
    lines = config_lib.to_flagfile(config_lib.from_arguments(job.flags))
    (job.folder / "run.flags").write_text(lines)
    plan.check_flags([job])
    # What was the default in so many words may go.
    flagfile.write_text("--mixup=0.3\n--balanced\n")
    plan.check_flags([job])
    flagfile.write_text("--balanced\n")
    with pytest.raises(ValueError, match="--mixup was 0.3, now 0.0. Give"):
        plan.check_flags([job])


def test_a_run_with_the_teacher_of_another_row_is_noticed(tmp_path):
    rows = [_ROWS[2], _ROWS[4], plan.Row("flat", "labels", ("--contrast=0.2",))]
    given = ["--dataset=demo"]
    jobs = plan.jobs(rows, given, (1,), (0,), tmp_path / "old", shared_teacher=True)
    for job in jobs.values():
        _write_run(job)
        lines = config_lib.to_flagfile(config_lib.from_arguments(job.flags))
        (job.folder / "run.flags").write_text(lines)
    plan.check_flags(jobs.values())
    # A table may be moved.
    (tmp_path / "old").rename(tmp_path / "new")
    moved = plan.jobs(rows, given, (1,), (0,), tmp_path / "new", shared_teacher=True)
    assert all(job.is_done for job in moved.values())
    plan.check_flags(moved.values())
    turned = [rows[1], rows[0], rows[2]]
    jobs = plan.jobs(turned, given, (1,), (0,), tmp_path / "new", shared_teacher=True)
    with pytest.raises(ValueError, match="flat .* other flags: --teacher was .*, now "):
        plan.check_flags(jobs.values())


def _stop_once_begun(jobs, devices, log):
    """Runs jobs, and sends SIGTERM once the log of a run says that it has begun."""

    def send():
        while not (log.exists() and "begun" in log.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, table._stop)
    try:
        threading.Thread(target=send, daemon=True).start()
        with pytest.raises(SystemExit, match="The same command continues"):
            running.run(jobs, devices)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_to_the_table_reaches_its_run(tmp_path, monkeypatch):
    job = next(iter(_jobs(tmp_path).values()))
    program = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved')))\n"
        "print('begun', flush=True)\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(plan.Job, "arguments", ["-c", program])
    log = job.folder / "log.txt"
    _stop_once_begun([job], (), log)
    assert log.read_text() == "begun\nsaved\n"


def test_no_run_begins_after_a_signal(tmp_path, monkeypatch):
    jobs = plan.jobs(_ROWS, [], (1,), (0,), tmp_path, shared_teacher=True)
    first, other = jobs[(), 1, 0], jobs[("--brightness=0.2",), 1, 0]
    program = "import time; print('begun', flush=True); time.sleep(5)"
    monkeypatch.setattr(plan.Job, "arguments", ["-c", program])
    _stop_once_begun([first, other], ["0", "1"], first.folder / "log.txt")
    assert not other.folder.exists()


def test_ctrl_c_ends_in_a_sentence(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(table.command, "request", lambda *_: None)
    monkeypatch.setattr(table, "run", interrupt)
    assert table.main([]) == 130
    assert "table: Stopped. The same command continues" in capsys.readouterr().err


def test_the_files_hold_the_numbers_of_the_scores(tmp_path):
    jobs = _jobs(tmp_path)
    for job in jobs.values():
        _write_run(job)
    found = scores.scores(_ROWS, [jobs], (1,), (0, 2))
    commands = {row.title: [["-m", "train.main"]] for row in _ROWS}
    files.write(tmp_path, found, (0, 2), "labels", {"L_d": 70.2}, commands)
    with open(tmp_path / "table.csv", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0][:4] == ["", "seed 0", "seed 2", "mean"]
    assert lines[4][:4] == ["L_d", "60.0", "65.0", "62.5"]
    assert lines[4][6] == "+20.0" and lines[4][-1] == "70.2"
    assert lines[0][8:10] == ["loss", "scaled loss"] and lines[4][8] == "0.93"
    assert float(lines[4][10]) == pytest.approx(
        float(lines[4][9]) - float(lines[3][9]), abs=0.011
    )
    assert lines[1][4:] == [""] * 9
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["rows"][3]["mean"]["mean"] == pytest.approx(62.5)
    assert content["baseline"] == "labels"
    over = content["rows"][3]["over"]
    assert over["teacher"]["top1"]["mean"] == pytest.approx(-15.0)
    assert content["rows"][3]["commands"] == ["python -m train.main"]
    assert (tmp_path / "table.md").read_text().count("\n") == 2 + len(_ROWS)
    assert b"<svg" in (tmp_path / "table.svg").read_bytes()


def test_clips_of_one_video_have_no_intervals(tmp_path):
    jobs = _jobs(tmp_path)
    one = np.full(_CLIPS, "v")
    for job in jobs.values():
        _write_run(job, videos=one, clusters=one)
    found = scores.scores(_ROWS, [jobs], (1,), (0, 2))
    commands = {row.title: [["-m", "train.main"]] for row in _ROWS}
    files.write(tmp_path, found, (0, 2), "labels", {}, commands)
    with open(tmp_path / "table.csv", newline="") as file:
        line = list(csv.reader(file))[4]
    assert line[3:5] == ["62.5", "not known"]
    assert line[6:8] == ["+20.0", "not known"]

    def refuse(constant):
        raise AssertionError(f"JSON has no {constant}.")

    text = (tmp_path / "table.json").read_text()
    row = json.loads(text, parse_constant=refuse)["rows"][3]
    assert row["mean"] == {"mean": pytest.approx(62.5), "low": None, "high": None}
    assert row["over"]["labels"]["top1"]["low"] is None
    assert b"<svg" in (tmp_path / "table.svg").read_bytes()


def test_a_title_with_dollar_signs_is_drawn_as_it_is(tmp_path):
    title = "$\\frac$, \u65e5"
    score = scores.Score(
        plan.Row(title, "labels"), (50.0,), statistics.Interval(5, 4, 6)
    )
    with matplotlib.rc_context({"text.parse_math": True}):
        files.write(tmp_path, [score], (0,), None, {}, {title: []})
    assert "<!-- $\\frac$, " in (tmp_path / "table.svg").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels", "--row is TITLE = NETWORK"),
        ("a = student", "must be one of majority, .*Got 'student'"),
        (" = labels", "--row is TITLE = NETWORK"),
        ("a = labels 'x", "'x\" is not understood: No closing quotation. Quotes"),
    ],
)
def test_wrong_rows_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        plan.parse_row(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row": ["a = labels", "a = attention"]}, "a title of its own"),
        ({"baseline": "b"}, "--baseline must be the title of a row.*Got 'b'"),
        ({"seeds": ["0", "00"]}, r"--seeds has a value twice. Got \[0, 0\]"),
        ({"splits": ["1", "2", "1"]}, "--splits has a value twice"),
        ({"modalities": ["rgb", "rgb"]}, "--modalities has a value twice"),
        ({"paper": ["b = 7"]}, "--paper is TITLE = PERCENT.*Got 'b = 7'"),
        ({"paper": ["a = high"]}, "--paper is TITLE = PERCENT"),
        (
            {"row": ["a = labels", "b = labels --brigtness=1"]},
            r"b \(split 1, seed 0\) have wrong flags: .*'brigtness'.*Correct --row",
        ),
        (
            {"run_flag": ["--num_frames=0"]},
            "wrong flags: flag --num_frames=0: 0 is not",
        ),
        ({"run_flag": ["--seed=5"]}, "cannot have --seed=5: .* is from --seeds"),
        ({"row": ["a = labels --split 2"]}, "cannot have --split: .* from --splits"),
        ({"row": ["a = labels --students=direct"]}, "is from the networks of --row"),
        ({"row": ["a = labels dark"]}, r"flags begin with --. Got \['dark'\]"),
    ],
)
def test_wrong_requests_are_refused_before_anything_runs(changes, message, tmp_path):
    request = {
        "output": str(tmp_path / "out"),
        "row": ["a = labels"],
        "run_flag": [],
        "seeds": ["0"],
        "splits": ["1"],
    }
    with pytest.raises(ValueError, match=message):
        table.run(table.Request(**request | changes))
    assert not (tmp_path / "out").exists()


def _write_modality(job, right):
    """A run that says for sure what it is right about, and else nothing."""
    logits = np.where(right[:, None], 3 * np.eye(_CLASSES)[_LABELS], 0)
    # What it does not know, it takes for the class behind the true one.
    logits += np.eye(_CLASSES)[(_LABELS + 1) % _CLASSES]
    names = ("teacher.future", "teacher.observed", "students.labels")
    job.folder.mkdir(parents=True)
    (job.folder / "results.json").write_text(
        json.dumps({"majority": {"top1": 0.4}, "num_evaluated": _CLIPS})
    )
    times_s = np.zeros((_CLIPS, 4))
    kept = predictions.Predictions(
        _LABELS,
        _VIDEOS,
        _VIDEOS,
        times_s,
        dict.fromkeys(names, logits.astype(np.float32)),
    )
    predictions.write(job.folder / predictions.FILE, kept)


def test_modalities_have_a_table_each_and_one_of_their_summed_logits(
    tmp_path, monkeypatch, capsys
):
    clips = np.arange(_CLIPS)
    # RGB knows the first 20 clips, flow those from 10 to 30.
    right = {"rgb": clips < 20, "flow": (clips >= 10) & (clips < 30)}
    ran = []

    def train(jobs, devices):
        for job in jobs:
            [modality] = [f for f in job.flags if f.startswith("--modality=")]
            name = modality.partition("=")[2]
            assert f"--weights=i3d_{name}" in job.flags
            ran.append(modality)
            _write_modality(job, right[name])

    monkeypatch.setattr(running, "run", train)
    request = table.Request(
        output=str(tmp_path),
        row=["most = majority", "student = labels"],
        run_flag=["--weights=i3d_{modality}"],
        seeds=["0"],
        splits=["1"],
        modalities=["rgb", "flow"],
        paper=["student = 69, 64.4, 74.9"],
    )
    found = table.run(request)
    assert ran == ["--modality=rgb", "--modality=flow"]
    students = [score.mean.mean for score in found if score.row.title == "student"]
    # One that knows a clip, 3 to 1, outvotes one that does not, 0 to 1.
    assert students == pytest.approx([50, 50, 75])
    for name, number in (("rgb", 69), ("flow", 64.4), ("both", 74.9)):
        kept = json.loads((tmp_path / name / "table.json").read_text())
        student = kept["rows"][1]
        assert student["paper"] == number
        assert len(student["commands"]) == (2 if name == "both" else 1)
    assert "\nboth\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("modalities", "numbers", "needed"),
    [("rgb,flow", "69, 64.4", 3), ("flow", "69, 64.4, 74.9", 1)],
)
def test_each_modality_needs_a_number_of_the_paper(
    modalities, numbers, needed, tmp_path
):
    request = table.Request(
        output=str(tmp_path),
        row=["student = labels"],
        run_flag=[],
        seeds=["0"],
        splits=["1"],
        modalities=modalities.split(","),
        paper=[f"student = {numbers}"],
    )
    message = f"--modalities={modalities} needs {needed}. Got 'student = {numbers}'"
    with pytest.raises(ValueError, match=message):
        table.run(request)


@pytest.mark.parametrize("path", _TABLES, ids=lambda path: path.stem)
def test_the_tables_of_the_project_are_understood(path):
    lines = path.read_text().splitlines()
    rows = [plan.parse_row(line[6:]) for line in lines if line.startswith("--row=")]
    papers = [line[8:] for line in lines if line.startswith("--paper=")]
    titles = [row.title for row in rows]
    assert len(set(titles)) == len(rows) > 1
    assert all(table._paper(text, titles, []) for text in papers)
    run_flags = [line[11:] for line in lines if line.startswith("--run_flag=")]
    for job in plan.jobs(rows, run_flags, [1], [0], pathlib.Path("out")).values():
        values = flags.FlagValues()
        config_lib.define_flags(values)
        # No row names a flag that a run does not have.
        assert values(["train.main", *job.flags])[1:] == []
