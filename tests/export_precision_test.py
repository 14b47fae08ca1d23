"""Lower precisions: what they compute, what they cost, and when they are refused."""

import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from export import accuracy, given_students, int8, precision, run_card, student_file
from export import main as export_main
from export.accuracy import AccuracyChange
from export.formats import openvino
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from kd_keras.models.precision import in_bfloat16, precision_of
from tests import small_run
from tests.tiny_exports import listing
from train import clip_stream

SPEC = ExportSpec(("open", "shut"), ClipFormat(9, 16))


def network():
    """Of every kind of layer that is treated apart."""
    keras.utils.set_random_seed(0)
    clip = keras.Input((9, 16, 16, 3))
    x = keras.layers.Rescaling(2.0, name="levels")(clip)
    x = keras.layers.Conv3D(4, 3, strides=3, use_bias=False)(x)
    spread = keras.initializers.RandomUniform(0.5, 2)
    x = keras.layers.BatchNormalization(moving_variance_initializer=spread)(x)
    x = keras.layers.GlobalAveragePooling3D()(keras.layers.ReLU()(x))
    return keras.Model(clip, keras.layers.Dense(2, name="Logits")(x), name="tiny")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """The folder of a run whose student was never trained."""
    folder = tmp_path_factory.mktemp("run")
    data = small_run.write_data_set(folder / "data")
    arguments = [*small_run.arguments(data, folder / "run"), "--image_size=16"]
    student_file.save_student(network(), folder / "run/student.keras", SPEC)
    (folder / "run/run.flags").write_text("\n".join(arguments))
    (folder / "run/results.json").write_text('{"student": {"top1": 0.5}}')
    return folder / "run"


def request(run_dir, tmp_path, **changes):
    return export_main.Request(
        str(run_dir / "student.keras"), str(tmp_path / "out"), **changes
    )


def random_clips(count):
    clips = np.random.default_rng(0).uniform(-1, 1, (count, 9, 16, 16, 3))
    return clips.astype(np.float32)


def some_clips(student, part, count=accuracy.MAX_CLIPS):
    """In place of the run's, which take a process to be read."""
    yield random_clips(4), np.array([0, 1, 0, 1])


def read(file):
    """The batches in what `train.clip_stream` wrote."""
    file.seek(0)
    while file.tell() < len(file.getbuffer()):
        yield np.load(file), np.load(file)


def test_the_clips_are_those_of_the_part(run_dir):
    clip_stream.write_clips(run_dir, "validation", 1000, file := io.BytesIO())
    ((clips, labels),) = read(file)
    assert labels.tolist() == [0, 1] and labels.dtype == np.int64
    assert clips.shape == (2, 9, 16, 16, 3) and clips.dtype == np.float32
    assert -1 <= clips.min() < clips.max() <= 1
    # Three videos of the training part are labeled, with two actions each.
    clip_stream.write_clips(run_dir, "training", 5, file := io.BytesIO())
    assert sum(len(labels) for _, labels in read(file)) == 5


def test_what_goes_wrong_with_the_clips_is_said(run_dir, tmp_path):
    with pytest.raises(ValueError, match="is not in the folder of a run"):
        list(accuracy.clips_of_run(tmp_path / "student.keras", "validation"))
    flags = (run_dir / "run.flags").read_text()
    (tmp_path / "run.flags").write_text(flags.replace("actions.csv", "missing.csv"))
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cannot be read: [^\n]*missing\.csv"):
        list(accuracy.clips_of_run(tmp_path / "student.keras", "validation"))


def test_the_change_is_counted_in_answers():
    right = np.eye(10)
    wrong = np.roll(right, 1, axis=1)
    labels = np.arange(10)
    batches = [(np.zeros(7), labels[:7]), (np.ones(3), labels[7:])]
    before = {7: right[:7], 3: np.concatenate([right[7:8], wrong[8:]])}
    after = {7: right[:7], 3: wrong[7:]}
    change = accuracy.measure(
        "int8",
        batches,
        lambda clips: before[len(clips)],
        lambda clips: after[len(clips)],
    )
    assert change == AccuracyChange("int8", 10, 0.8, 0.7, 0.9)
    # 0.8 - 0.7 is more than 0.1.
    accuracy.require_small(change, 0.1)
    sentence = r"int8 costs too much: .* 0\.7000, and 0\.8000 .* and --max_\S+=0\.09\."
    with pytest.raises(ValueError, match=sentence):
        accuracy.require_small(change, 0.09)
    better = AccuracyChange("int8", 10, 0.7, 0.8, 0.9)
    accuracy.require_small(better, 0.0)


def test_bfloat16_rounds_and_keeps_the_head_and_the_weights():
    model = network()
    inner = keras.Sequential([keras.Input((9, 16, 16, 3)), model])
    for rounded in (in_bfloat16(model), in_bfloat16(inner).layers[-1]):
        for one, other in zip(rounded.weights, model.weights, strict=True):
            assert one.dtype == "float32"
            np.testing.assert_array_equal(one, other)
        kept = [each.name for each in rounded.layers if each.compute_dtype == "float32"]
        assert len(kept) == 3 and kept[1:] == ["levels", "Logits"]
        one, other = (
            each(random_clips(2), training=False).numpy() for each in (rounded, model)
        )
        assert 0 < np.abs(one - other).max() < 0.03 * np.abs(other).max()
    assert precision_of(model) == precision_of(inner) == "float32"
    assert precision_of(in_bfloat16(inner)) == "bfloat16"


def test_a_savedmodel_computes_in_bfloat16(run_dir, tmp_path, capsys):
    path = export_main.run(request(run_dir, tmp_path, precision="bfloat16"))
    said = capsys.readouterr().out
    assert "In bfloat16, top-1 accuracy on 2 validation clips is" in said
    card = run_card.read(path)
    assert card["precision"] == "bfloat16" and card["batch_norm_folded"]
    change = AccuracyChange(**card["accuracy_change"])
    assert str(change) in said
    text = Path(path, run_card.MODEL_CARD).read_text("utf-8")
    assert "It computes in bfloat16. Top-1 accuracy on 2 validation clips is" in text
    # Checked as it is served, by `export.check`.
    served = given_students.load_exported(str(run_dir / "student.keras"), path)
    assert served.precision == "bfloat16"


@pytest.mark.parametrize(
    ("precision_", "format_"), [("bfloat16", "savedmodel"), ("int8", "openvino")]
)
def test_what_costs_too_much_leaves_nothing(
    run_dir, tmp_path, monkeypatch, precision_, format_
):
    if precision_ == "int8":
        for package in (*int8.PACKAGES, *openvino.PACKAGES):
            pytest.importorskip(package)
    worse = AccuracyChange(precision_, 10, 0.9, 0.8, 0.8)
    monkeypatch.setattr(accuracy, "clips_of_run", some_clips)
    monkeypatch.setattr(accuracy, "measure", lambda *_: worse)
    asked = request(run_dir, tmp_path, precision=precision_, format=format_)
    with pytest.raises(ValueError, match=r"a drop of 0\.1000, and --max_\S+=0\.01\."):
        export_main.run(asked)
    assert listing(tmp_path) == []


def test_openvino_computes_in_int8(run_dir, tmp_path, monkeypatch, capsys):
    for package in (*int8.PACKAGES, *openvino.PACKAGES):
        pytest.importorskip(package)
    monkeypatch.setattr(accuracy, "clips_of_run", some_clips)
    asked = request(run_dir, tmp_path, precision="int8", format="openvino")
    path = Path(export_main.run(asked))
    assert "In int8, top-1 accuracy on 4 validation clips is" in capsys.readouterr().out
    cards = ["model_card.md", "run_card.json", "student.json"]
    assert listing(path) == ["model.bin", "model.xml", *cards]
    right = keras.ops.softmax(network()(random_clips(4), training=False)).numpy()
    found = openvino.load(str(path / "model.xml"))(random_clips(4))
    assert 0 < np.abs(found - right).max() < 0.05
    assert "FakeQuantize" in (path / "model.xml").read_text()
    card = json.loads((path / "run_card.json").read_text("utf-8"))
    assert card["precision"] == "int8" and card["accuracy_change"]["num_clips"] == 4
    assert card["signatures"]["network"]["inputs"]["clip"]["shape"][0] == -1
    assert "computes in int8" in (path / "model_card.md").read_text("utf-8")


def test_what_has_no_such_precision_refuses_it(run_dir, tmp_path, monkeypatch):
    for name in ("onnx", "litert"):
        with pytest.raises(ValueError, match=r"int8 is for --format=openvino\. Got"):
            precision.require("int8", name)
    asked = request(run_dir, tmp_path, precision="bfloat16", format="openvino")
    with pytest.raises(ValueError, match=r"bfloat16 is for --format=savedmodel\. Got"):
        export_main.run(asked)
    monkeypatch.setattr(int8, "PACKAGES", {"no_such_package": "nncf==1"})
    with pytest.raises(ValueError, match="int8 needs no_such_package: pip install nnc"):
        precision.require("int8", "openvino")
    pair = export_main.Request("a.keras,b.keras", "out", precision="bfloat16")
    with pytest.raises(ValueError, match="--precision=bfloat16 takes one student"):
        export_main.run(pair)
    assert listing(tmp_path) == []
