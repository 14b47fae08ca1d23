"""Every example runs, says what it is, and what it claims to show is so."""

import ast
import re
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest

# Not resolved: under Bazel the files stand as links beside this one.
ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(
    path.stem for path in ROOT.glob("examples/*.py") if path.stem != "__init__"
)
_HEADER = re.compile(
    r"""
Title: .+
Author: kd_keras authors
Date created: \d{4}/\d\d/\d\d
Last modified: \d{4}/\d\d/\d\d
Description: .+\.
Accelerator: \w+
"""
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs an example as the program that it is.

    In this process, as importing TensorFlow takes longer than most of them.
    """
    monkeypatch.chdir(ROOT)

    def run_example(name):
        """Returns the example's variables and what it printed."""
        variables = runpy.run_module(f"examples.{name}", run_name="__main__")
        return variables, capsys.readouterr().out

    yield run_example
    keras.backend.clear_session()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_a_header_and_uses_public_names(name):
    module = ast.parse((ROOT / "examples" / f"{name}.py").read_text())
    assert _HEADER.fullmatch(ast.get_docstring(module, clean=False))
    imported = {
        source
        for node in ast.walk(module)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for source in [getattr(node, "module", None), *(n.name for n in node.names)]
        if source
    }
    ours = {name for name in imported if re.match(r"(kd_keras|train|export)\b", name)}
    assert ours == (set() if name == "read_prepared_records" else {"kd_keras"})


def test_the_distilled_student_surpasses_the_labels(run):
    found, printed = run("distill_your_models")
    logits = found["student"](found["test_observed"], training=False)
    top1 = np.mean(np.argmax(logits, -1) == found["test_label"])
    assert found["student_top1"] == top1
    assert found["teacher_top1"] > 0.8
    assert top1 > max(0.7, found["baseline_top1"] + 0.2)
    assert found["last"] < found["first"]
    assert f"Distilled student, on observed clips: {top1:.2f}" in printed
    assert f"labels alone, on observed clips: {found['baseline_top1']:.2f}" in printed


def test_the_loss_in_a_plain_fit_draws_the_maps_together(run):
    found, printed = run("feature_loss_in_fit")
    # Two channels of every token differ by 1.
    assert found["direct_value"] == pytest.approx(2)
    assert found["attentional_value"] == pytest.approx(0, abs=1e-6)
    assert found["last"] < 0.5 * found["first"]
    logits = found["student"](found["test_after"], training=False)["logits"]
    top1 = np.mean(np.argmax(logits, -1) == found["test_label"])
    assert top1 > 0.6
    assert f"Student, on new pictures: {top1:.2f} (chance 0.25)" in printed


def test_the_loss_serves_in_the_distiller_of_keras(run):
    found, printed = run("keras_distillation")
    assert found["last"] < 0.7 * found["first"]
    logits = found["student"](found["test_clips"], training=False)
    top1 = np.mean(np.argmax(logits, -1) == found["test_label"])
    assert found["student_top1"] == top1 > 0.8
    assert f"Student, on new clips: {top1:.2f} (chance 0.25)" in printed


def test_a_loaded_student_learns_other_classes(run):
    found, printed = run("fine_tune_student")
    assert found["head_top1"] > 0.6
    assert found["tuned_top1"] > 0.6
    assert found["same"]
    assert "The saved model gives the same logits: True" in printed
    # The body that was loaded is the one that was tuned.
    first, other = (
        network.get_layer("conv1_conv").get_weights()[0]
        for network in (found["trained"], found["body"])
    )
    assert 0 < np.abs(first - other).max() < 0.5 * np.abs(first).max()


def test_records_are_read_without_the_library(run):
    found, printed = run("read_prepared_records")
    read, segments = found["read"], found["data_set"]["segments"]
    listed = {tuple(key) for shard in found["index"]["shards"] for key in shard["keys"]}
    assert len(read) == len(listed) > 50
    keys = {(clip["video"].decode(), clip["start_s"], clip["end_s"]) for clip in read}
    assert {(v, round(a, 6), round(b, 6)) for v, a, b in listed} == keys
    for clip in read:
        assert clip["clip"].shape == (9, 32, 32, 3)
        assert np.abs(clip["clip"]).max() <= 1
        assert np.std(clip["clip"]) > 0.1
        times_s = clip["frame_times_s"]
        assert np.all(np.diff(times_s) >= 0)
        assert np.all((times_s < clip["end_s"]) & (times_s > clip["start_s"] - 0.1))
    labeled = [clip for clip in read if clip["label"] >= 0]
    assert len(labeled) == found["num_labeled"] > 20
    for clip in labeled:
        assert _is_annotated(clip, found["classes"], segments), clip["video"]
    assert f"Read {len(read)} clips; {len(labeled)} have a label" in printed
    assert "(8, 9, 32, 32, 3) and (8,)" in printed


def _is_annotated(clip, classes, segments, lead_time_s=0.4):
    """Whether an action of the clip's label starts with it or a lead time after it."""
    for video, start_s, _, label, *_ in segments:
        if (video, label) == (clip["video"].decode(), classes[clip["label"]]):
            gaps_s = start_s - clip["start_s"], start_s - lead_time_s - clip["end_s"]
            if min(map(abs, gaps_s)) < 1e-3:
                return True
    return False
