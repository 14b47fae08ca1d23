"""The numbers that docs.score_confidence prints, against NumPy."""

import json

import numpy as np
import pytest

from docs import score_confidence
from train import predictions

_CLASSES = ("lift", "press", "smash")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of two runs with random predictions for the same 60 clips."""
    random = np.random.default_rng(0)
    labels = random.integers(len(_CLASSES), size=60)
    folders = []
    for seed in range(2):
        folder = tmp_path_factory.mktemp(f"run-{seed}")
        names = [predictions.TEACHER_FUTURE, predictions.TEACHER_OBSERVED]
        methods = ("labels", "pseudo_labels", "attention")
        names += [predictions.of_student(method) for method in methods]
        videos = np.array([f"{clip // 3}.mp4" for clip in range(60)])
        found = predictions.Predictions(
            labels=labels,
            videos=videos,
            clusters=videos,
            times_s=np.zeros((60, 4)),
            logits={
                name: random.normal(size=(60, 3)) + np.eye(3)[labels] for name in names
            },
        )
        predictions.write(folder / "predictions.npz", found)
        (folder / "data_set.json").write_text(json.dumps({"classes": _CLASSES}))
        folders.append(folder)
    return folders


def test_rows_are_means_over_runs(runs, capsys):
    score_confidence.main(runs)
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines()]
    rows = {cells[1].strip(): [c.strip() for c in cells[2:-1]] for cells in lines}
    found = [predictions.read(run / "predictions.npz") for run in runs]

    def mean(of_run):
        return pytest.approx(100 * np.mean([of_run(run) for run in found]), abs=0.0501)

    def recall(name, label):
        return mean(lambda run: run.hits(name)[run.labels == label])

    teacher = predictions.TEACHER_FUTURE
    labels, attention = map(predictions.of_student, ("labels", "attention"))
    agreement = mean(
        lambda run: run.logits[attention].argmax(1) == run.logits[teacher].argmax(1)
    )
    assert float(rows["student, pseudo-labels + L_d"][3]) == agreement
    # The runs have as many clips each, so this is the mean over all clips, too.
    assert float(rows["accuracy"][0]) == mean(lambda run: run.hits(teacher))
    for label, title in enumerate(_CLASSES):
        of_teacher, of_labels, _, of_attention, gain = rows[title]
        assert float(of_teacher) == recall(teacher, label)
        assert float(of_labels) == recall(labels, label)
        assert float(of_attention) == recall(attention, label)
        difference = float(of_attention) - float(of_labels)
        assert float(gain.split()[0]) == pytest.approx(difference, abs=0.1501)
