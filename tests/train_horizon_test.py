"""The networks of a run, scored at other times, against runs that have these times."""

import csv
import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from tests import untrained_run
from train import horizon, predictions
from train.evaluator import Evaluator
from train.finished_run import FinishedRun
from train.flags import config as config_lib
from train.written import write_text

_METHODS = ("no_teacher", "labels", "attention")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("horizon")
    return untrained_run.write(folder, folder / "run", _METHODS)


def _top1_of_a_run_at(run_dir, lead_time_s):
    """Percent by network, of a run with the same networks and another --lead_time_s."""
    config = config_lib.from_flagfile(run_dir / "run.flags")
    data = dataclasses.replace(config.data, lead_time_s=lead_time_s)
    other = run_dir.parent / f"run-{lead_time_s}"
    other.mkdir(exist_ok=True)
    for name in ("teacher.keras", "students"):
        if not (other / name).exists():
            (other / name).symlink_to(run_dir / name)
    changed = dataclasses.replace(config, data=data)
    write_text(other / "run.flags", config_lib.to_flagfile(changed))
    found = FinishedRun(other).predictions()
    return {name: 100 * found.hits(name).mean() for name in found.logits}


def test_each_time_has_the_scores_of_a_run_of_that_time(run_dir, capsys):
    times = (0.1, 0.4, 1.3)
    points = horizon.run([str(run_dir)], horizon.Request(lead_times_s=times))
    assert len(points) == len(times) * 4
    for time in times:
        expected = _top1_of_a_run_at(run_dir, time)
        del expected[predictions.TEACHER_FUTURE]
        found = {point.network: point.top1.mean for point in points if point.at == time}
        assert found == pytest.approx(expected)
    # Another time is another score, or the test would show little.
    assert len({point.top1.mean for point in points}) > 1
    printed = capsys.readouterr().out
    assert (run_dir / "horizon.md").read_text() in printed
    with open(run_dir / "horizon.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "lead time in seconds"
    assert [float(row[0]) for row in rows] == [point.at for point in points]
    assert (run_dir / "horizon.svg").read_text().count("<svg") == 1


def test_gains_are_over_labels_alone(run_dir):
    request = horizon.Request(lead_times_s=(0.4,))
    points = {p.network: p for p in horizon.run([str(run_dir)], request)}
    labels = points[predictions.of_student("labels")]
    assert labels.gain is None
    assert points[predictions.TEACHER_OBSERVED].gain is None
    for method in ("no_teacher", "attention"):
        student = points[predictions.of_student(method)]
        difference = student.top1.mean - labels.top1.mean
        assert student.gain.mean == pytest.approx(difference)


def test_several_runs_are_drawn_together(run_dir, tmp_path):
    request = horizon.Request(lead_times_s=(0.4,), output=str(tmp_path / "out"))
    once = horizon.run([str(run_dir)], request)
    twice = horizon.run([str(run_dir), str(run_dir)], request)
    assert [p.top1.mean for p in once] == [p.top1.mean for p in twice]
    assert (tmp_path / "out/horizon.md").exists()


def test_observed_fractions_are_those_of_the_pairs(tmp_path):
    run_dir = untrained_run.write(
        tmp_path, tmp_path / "run", ("direct", "attention"), "--observed_fraction=0.5"
    )
    run = FinishedRun(run_dir)
    timing = dataclasses.replace(run.timing, observed_fraction=1.0)
    for pair in run.pairs_at(timing):
        assert pair.observed == pair.future
    request = horizon.Request(observed_fractions=(0.5, 1.0))
    points = horizon.run([str(run_dir)], request)
    found = run.predictions()
    whole = {p.network: p.top1.mean for p in points if p.at == 1.0}
    # Shown all of a clip, the teacher says what it says of the future one.
    expected = 100 * found.hits(predictions.TEACHER_FUTURE).mean()
    assert whole[predictions.TEACHER_OBSERVED] == pytest.approx(expected)
    # Gains are over the first student if none is from labels alone.
    gains = {p.network: p.gain for p in points if p.at == 1.0}
    first, second = map(predictions.of_student, ("direct", "attention"))
    assert gains[first] is None
    assert gains[second].mean == pytest.approx(whole[second] - whole[first])
    with pytest.raises(ValueError, match="takes --observed_fractions, not --lead"):
        horizon.run([str(run_dir)], horizon.Request(lead_times_s=(0.5,)))


def test_a_network_that_says_nan_has_no_score(run_dir, monkeypatch):
    def says_nan(self, *_):
        indices, by_crop = logits(self, *_)
        by_crop[1] = np.nan
        return indices, by_crop

    logits = Evaluator.indexed_logits
    monkeypatch.setattr(Evaluator, "indexed_logits", says_nan)
    with pytest.raises(ValueError, match=r"NaN or infinity of 1 of \d+ clips"):
        horizon.run([str(run_dir)], horizon.Request(lead_times_s=(0.4,)))


def test_what_cannot_be_compared_is_refused(run_dir, tmp_path, monkeypatch):
    both = horizon.Request(lead_times_s=(1.0,), observed_fractions=(0.5,))
    for request in (horizon.Request(), both):
        with pytest.raises(ValueError, match="Give either"):
            horizon.run([str(run_dir)], request)
    other = untrained_run.write(tmp_path, tmp_path / "run", ("labels",))
    # No network is asked before.
    monkeypatch.setattr(FinishedRun, "observers", None)
    with pytest.raises(ValueError, match="not of the same clips and networks"):
        horizon.run(
            [str(run_dir), str(other)],
            horizon.Request(lead_times_s=(0.4,), output=str(tmp_path / "out")),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--lead_times_s=-1", "they are seconds from 0, such as --lead_times_s=0.5,1."),
        ("--lead_times_s=soon", "they are seconds from 0"),
        ("--lead_times_s=inf", "they are seconds from 0"),
        ("--observed_fractions=0", "they are fractions above 0 and up to 1"),
        ("--observed_fractions=0.5,1.5", "they are fractions above 0 and up to 1"),
    ],
)
def test_times_are_checked_before_anything_is_read(flag, message):
    found = subprocess.run(
        [sys.executable, "-m", "train.horizon", "nowhere", flag],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert message in " ".join(found.stderr.split())
