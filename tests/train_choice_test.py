"""Which student is kept: chosen by validation data, by held-out videos, or by rule."""

import csv
import json

import numpy as np
import pytest

from tests import numbered_video, small_run, untrained_run
from train import choice, networks
from train import data as data_lib
from train import results as results_lib
from train import run as run_lib
from train.evaluator import Evaluator
from train.loop.loop import Phase

SCORES = {
    "labels": {"top1": 0.2, "loss": 0.5},
    "direct": {"top1": 0.6, "loss": 1.5},
    "attention": {"top1": 0.6, "loss": 1.5},
}


def write(folder, parts):
    """Two actions in each video, of the parts given."""
    rows = [["video", "start", "end", "label", "split"]]
    for number, part in enumerate(parts):
        name = f"v{number}.mp4"
        numbered_video.write(folder / name, 40 + number, frame_rate=10, g="7")
        for start_s, label in ((1.4, "open"), (2.6, "shut")):
            rows.append([name, start_s, start_s + 1, label, part])
    with open(folder / "actions.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(
        tmp_path_factory.mktemp("data"),
        ["train"] * 4 + ["val", "test", "test"],
    )


@pytest.fixture(scope="module")
def without_val(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"), ["train"] * 5 + ["test"])


def load(folder, *flags):
    config = small_run.config(folder, folder / "run", *flags)
    return data_lib.load(config, folder / "run")


def test_the_best_is_chosen_and_the_first_of_equals():
    chosen = choice.choose("val", SCORES, 7)
    assert (chosen.method, chosen.rule, chosen.num_pairs) == ("direct", "validation", 7)
    assert chosen.scores == SCORES
    text = "student.keras is direct, the best on 7 clips of the val part."
    assert str(chosen) == text
    assert "held out of training" in str(choice.choose("held_out", SCORES, 7))
    assert "which are the evaluated ones" in str(choice.choose("val", SCORES, 7, True))


def test_the_loss_chooses_among_students_that_are_right_equally_often():
    scores = SCORES | {"attention": {"top1": 0.6, "loss": 1.4}}
    assert choice.choose("val", scores, 7).method == "attention"


def test_without_a_part_to_choose_by_the_last_is_kept():
    chosen = choice.choose(None, SCORES, 0)
    assert (chosen.method, chosen.rule, chosen.scores) == ("attention", "last", {})
    assert "the last of --students" in str(chosen)


def parts_of(data):
    return {pair.future.video for pair in data.choosing}, data.choosing_part


def test_what_chooses(folder, without_val):
    data = load(folder)
    assert (data.eval_part, *parts_of(data)) == ("val", {"v4.mp4"}, "val")
    assert data.choosing == data.evaluated
    data = load(folder, "--eval_part=test")
    assert (data.eval_part, *parts_of(data)) == ("test", {"v4.mp4"}, "val")
    assert len(data.evaluated) == 4 and data.summary["val"]["num_pairs"] == 2
    data = load(without_val)
    assert (data.eval_part, *parts_of(data)) == ("test", set(), None)
    data = load(without_val, "--holdout=0.4")
    videos, part = parts_of(data)
    assert part == "held_out" and len(videos) == 2
    assert len(data.labeled) == 6 and data.summary["held_out"]["num_pairs"] == 4
    assert not videos & {p.future.video for p in [*data.labeled, *data.unlabeled]}
    assert "v5.mp4" not in videos
    # Given, it chooses also beside a val part, which then only is evaluated.
    data = load(folder, "--holdout=0.4")
    assert (data.eval_part, data.choosing_part) == ("val", "held_out")


def test_a_part_without_labels_is_not_evaluated(tmp_path):
    write(tmp_path, ["train", "train", "val", "test"])
    annotations = tmp_path / "actions.csv"
    labeled = annotations.read_text()
    for label in ("open", "shut"):
        labeled = labeled.replace(f"{label},val", ",val")
    annotations.write_text(labeled)
    data = load(tmp_path)
    assert (data.eval_part, len(data.evaluated), data.choosing) == ("test", 2, [])
    refusal = "no labeled segment of the part 'val' .* labels are in test, train"
    with pytest.raises(ValueError, match=refusal):
        load(tmp_path, "--eval_part=val")


def test_prepared_records_hold_what_chooses(folder, tmp_path):
    from train import prepare as prepare_lib

    flags = "--eval_part=test", "--holdout=0.4"
    config = small_run.config(folder, tmp_path, *flags)
    prepare_lib.prepare(config, small_run.preparation(tmp_path / "records"))
    videos = load(folder, *flags)
    data = load(folder, *flags, f"--records={tmp_path / 'records'}")
    assert data.choosing == videos.choosing and len(data.choosing) == 4
    with pytest.raises(ValueError, match="--holdout was 0.4, now None"):
        load(folder, "--eval_part=test", f"--records={tmp_path / 'records'}")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """One that was not trained, as the test says what networks say."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.keras"
    config = small_run.config(path.parent, path.parent, *small_run.SMALLEST_NETWORK)
    networks.build_teacher(config, num_classes=2).save(path)
    return path


def run(folder, run_dir, *flags):
    config = small_run.config(
        folder,
        run_dir,
        *small_run.SMALLEST_NETWORK,
        "--students=labels,pseudo_labels",
        *flags,
    )
    return run_lib.run_experiment(config)


def predictions(monkeypatch, better_by_part):
    """Makes the evaluator give a method the right predictions on one part alone."""

    def indexed_logits(self, predictor, field):
        pairs = self._pairs
        labels = np.array([pair.label for pair in pairs])
        method = predictor.method if hasattr(predictor, "method") else None
        part = self.part_of[pairs[0].future.video]
        right = better_by_part.get(part) == method
        logits = np.eye(2, dtype=np.float32)[labels if right else 1 - labels]
        return np.arange(len(pairs)), logits[:, None]

    monkeypatch.setattr(Evaluator, "indexed_logits", indexed_logits)


@pytest.mark.parametrize(
    ("flags", "has_val", "rule", "best"),
    [
        (("--eval_part=test",), True, "validation", "labels"),
        (("--holdout=0.4",), False, "holdout", "labels"),
        ((), False, "last", "pseudo_labels"),
        (("--eval_part=val",), True, "validation", "labels"),
    ],
)
def test_the_test_part_chooses_nothing(
    folder,
    without_val,
    teacher,
    tmp_path,
    monkeypatch,
    capsys,
    flags,
    has_val,
    rule,
    best,
):
    data_set = folder if has_val else without_val
    monkeypatch.setattr(Evaluator, "part_of", {}, raising=False)
    predictor_of = Evaluator.predictor

    def predictor(self, model, *crops):
        found = predictor_of(self, model, *crops)
        found.method = methods.get(id(model))
        return found

    methods = {}
    load_or_train_student = run_lib.load_or_train_student

    def remembered(run, method, teacher):
        student = load_or_train_student(run, method, teacher)
        methods[id(student)] = method
        Evaluator.part_of.update(
            {name: video.part for name, video in run.data.index.videos.items()}
        )
        return student

    monkeypatch.setattr(run_lib, "load_or_train_student", remembered)
    evaluate = run_lib.evaluate

    def evaluate_with_predictions(*arguments):
        # On the test part the other student is the better one.
        other = {"labels": "pseudo_labels", "pseudo_labels": "labels"}[best]
        better = {"test": other, "val": "labels", "held_out": "labels"}
        with monkeypatch.context() as patch:
            predictions(patch, better)
            patch.setattr(Evaluator, "predictor", predictor)
            return evaluate(*arguments)

    monkeypatch.setattr(run_lib, "evaluate", evaluate_with_predictions)
    # No student learns anything, as the test says what they predict.
    monkeypatch.setattr(Phase, "run", untrained_run.validated_alone)
    results = run(data_set, tmp_path, f"--teacher={teacher}", *flags)
    assert (results["best_student"], results["student_choice"]["rule"]) == (best, rule)
    assert results["student"] == results["students"][best]
    if results["eval_part"] == "test":
        assert results["student"]["top1"] == 0.0
        assert max(s["top1"] for s in results["students"].values()) == 1.0
    kept = (tmp_path / "student.keras").read_bytes()
    assert kept == (tmp_path / "students" / f"{best}.keras").read_bytes()
    text = results["student_choice"]["text"]
    assert text in capsys.readouterr().out
    assert ("evaluated ones" in text) == (flags == ("--eval_part=val",))
    assert json.loads((tmp_path / "results.json").read_text()) == results
    validated = [
        json.loads(line)
        for line in (tmp_path / "metrics.jsonl").read_text().split("\n")
        if "val_top1" in line
    ]
    assert bool(validated) == (rule != "last")


def test_keep_best_needs_something_to_choose_by(folder, without_val, tmp_path):
    with pytest.raises(ValueError, match="hold videos out of training by --holdout"):
        run(without_val, tmp_path, "--keep=best")


class _Folder:
    def __init__(self, path):
        self.directory = path


def test_an_export_of_another_student_is_made_anew(tmp_path):
    def holds_another(results, method="direct"):
        if results is not None:
            (tmp_path / "results.json").write_text(json.dumps(results))
        return results_lib._holds_another(_Folder(tmp_path), method)

    assert not holds_another(None)
    assert not holds_another({"best_student": "direct", "export": "export/1"})
    assert not holds_another({"best_student": "direct"})
    assert not holds_another({"teacher": {}})
    assert holds_another({"best_student": "labels", "export": "export/1"})
    # The run ended before the new export was written.
    assert holds_another({"best_student": "direct", "export": None})
