"""What an export tells of itself, and what a server is warmed up with."""

import functools
import hashlib
import importlib.util
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import checking, run_card, server_files, student_file, versions, warm_up
from export import main as export_main
from export.signatures import ServedStudent
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from tests.tiny_exports import tiny_student

CLASSES = ("cut", "öffnen")
SPEC = ExportSpec(CLASSES, ClipFormat(8, 16), lead_time_s=0.5)
RESULTS = {
    "teacher": {"future": {"top1": 0.9}},
    "student": {"top1": 0.75, "top5": 1.0},
    "students": {
        "attention": {"top1": 0.75, "top5": 1.0},
        "labels": {"top1": 0.25, "top5": 1.0},
    },
    "best_student": "attention",
    "confusion": [[1, 2], [3, 4]],
    "num_train_labeled": 7,
    "num_train_unlabeled": 5,
    "num_evaluated": 4,
    "data": {"labeled": {"num_pairs": 7}},
    "cost": float("nan"),
}

CONVOLUTION = functools.partial(keras.layers.Conv3D, 4, 3)
NORM = keras.layers.BatchNormalization


def _functional(layers):
    clip, *others = layers
    return keras.Model(clip, functools.reduce(lambda x, layer: layer(x), others, clip))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The version that is exported of a run's student."""
    run_dir = tmp_path_factory.mktemp("run")
    clip = keras.Input((8, 16, 16, 3))
    x = keras.layers.Conv3D(4, 3, strides=4, activation="relu")(clip)
    x = keras.layers.GlobalAveragePooling3D()(x)
    student = keras.Model(clip, keras.layers.Dense(2)(x))
    student_file.save_student(student, run_dir / "students" / "attention.keras", SPEC)
    (run_dir / "results.json").write_text(json.dumps(RESULTS))
    (run_dir / "run.flags").write_text("--dataset=epic_kitchens\n--width=0.5\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "check_in_fresh_process", lambda *_: None)
        request = export_main.Request(
            str(run_dir / "students" / "attention.keras"), str(run_dir / "kitchen")
        )
        return pathlib.Path(export_main.run(request))


def test_the_card_says_what_the_student_is(path):
    card = json.loads((path / run_card.RUN_CARD).read_text("utf-8"))
    assert (card["name"], card["version"]) == ("kitchen", 1)
    assert card["classes"] == list(CLASSES) and card["lead_time_s"] == 0.5
    assert card["flags"] == ["--dataset=epic_kitchens", "--width=0.5"]
    assert card["metrics"]["student"] == RESULTS["student"]
    assert card["metrics"]["cost"] is None and "confusion" not in card["metrics"]
    assert card["data"]["num_train_labeled"] == 7
    assert card["data"]["pairs"] == RESULTS["data"]
    assert "CC BY-NC 4.0" in card["license_note"]
    signature = card["signatures"]["encoded_frames"]
    assert signature["inputs"]["encoded_frames"]["dtype"] == "string"
    assert signature["inputs"]["encoded_frames"]["shape"] == [-1, -1]
    assert signature["outputs"]["lead_time_s"]["range"].startswith("seconds")
    for name, sum_ in card["sha256"].items():
        if name != "student.keras":
            found = hashlib.sha256((path / name).read_bytes()).hexdigest()
            assert found == sum_, name
    assert {"saved_model.pb", "student.keras"} <= set(card["sha256"])


@pytest.mark.parametrize(
    ("name", "top1"),
    [
        ("students/labels", 0.25),
        ("students/attention", 0.75),
        ("student", 0.75),
        ("teacher", None),
        ("students/other", None),
    ],
)
def test_the_card_has_the_scores_of_the_network_that_is_exported(
    name, top1, path, tmp_path
):
    run_dir = path.parents[1]
    file = run_dir / "students" / "attention.keras"
    student = ServedStudent(keras.saving.load_model(file), SPEC)
    target = tmp_path / "other"
    files = [run_dir / f"{name}.keras"]
    run_card.write_of_network(student, target, "kitchen", 1, files)
    metrics = json.loads((target / "run_card.json").read_text("utf-8"))["metrics"]
    assert (metrics["student"] or {}).get("top1") == top1


@pytest.mark.parametrize(
    ("layers", "policy", "is_folded"),
    [
        ([CONVOLUTION, NORM], "float32", True),
        ([CONVOLUTION, NORM], "mixed_bfloat16", False),
        # An activation stands between the two.
        ([CONVOLUTION, keras.layers.ReLU, NORM], "float32", False),
        ([CONVOLUTION], "float32", False),
    ],
)
@pytest.mark.parametrize("network", [keras.Sequential, _functional])
def test_the_card_says_whether_batch_norm_was_folded(
    network, layers, policy, is_folded, tmp_path
):
    ends = keras.layers.GlobalAveragePooling3D(), keras.layers.Dense(2)
    begins = [make(dtype=policy) for make in layers]
    model = network([keras.Input((8, 16, 16, 3)), *begins, *ends])
    student = ServedStudent(model, SPEC).folded()
    run_card.write_of_network(student.folded(), tmp_path, "kitchen", 1, ())
    card = json.loads((tmp_path / "run_card.json").read_text("utf-8"))
    assert card["batch_norm_folded"] == is_folded


@pytest.mark.parametrize(
    "text", ["[]", "{", "", '{"student": "Ann"}', '{"students": {"labels": 7}}']
)
def test_results_of_another_program_are_named(text, tmp_path):
    (tmp_path / "results.json").write_text(text)
    student = ServedStudent(tiny_student(2), SPEC)
    files = [tmp_path / "student.keras"]
    with pytest.raises(ValueError, match=r"results\.json: .*move it or the student"):
        run_card.write_of_network(student, tmp_path, "kitchen", 1, files)


def test_flags_that_are_no_text_are_named(tmp_path):
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "run.flags").write_bytes(b"--task=all\n--video_root=/d\xe4ta\n")
    student = ServedStudent(tiny_student(2), SPEC)
    with pytest.raises(ValueError, match=r"run\.flags, line 2: not UTF-8 text"):
        run_card.write_of_network(
            student, tmp_path, "kitchen", 1, [tmp_path / "student.keras"]
        )


def test_the_model_card_can_be_read(path):
    text = (path / run_card.MODEL_CARD).read_text("utf-8")
    assert text.startswith("# kitchen, version 1\n")
    for part in ("0.5 s before it starts", "| top1 | 0.750 |", "CC BY-NC", "7 labeled"):
        assert part in text


def test_every_signature_is_warmed_up_at_every_batch_size(path):
    requests = list(warm_up.read(path / warm_up.WARM_UP_FILE))
    shapes = {
        (name, size): shape
        for size in server_files.BATCH_SIZES
        for name, shape in {
            "serving_default": [(size, 8, 19, 19, 3)],
            "encoded_frames": [(size, 8)],
            "clip": [(size, 8, 16, 16, 3)],
            "features": [(size, 8, 19, 19, 3)],
            "describe": [(size,)],
            "init_state": [(size,)],
            "step": [(size,), (size,), (size, 19, 19, 3), (size, 9, 16, 16, 3)],
        }.items()
    }
    for name, inputs in requests:
        found = [value.shape for value in inputs.values()]
        assert sorted(found, key=len) == shapes.pop((name, found[0][0]))
    assert not shapes
    assert (path / warm_up.WARM_UP_FILE).stat().st_size < 20_000


def test_a_server_is_configured_beside_it(path):
    assert versions.versions(path.parent) == [1]
    assert server_files.read_stable(str(path.parent)) == 1


def test_the_records_are_tf_servings(path):
    if importlib.util.find_spec("tensorflow_serving") is None:
        pytest.skip("tensorflow-serving-api is not installed.")
    from tensorflow_serving.apis import prediction_log_pb2

    file = str(path / warm_up.WARM_UP_FILE)
    records = [*tf.data.TFRecordDataset(file).as_numpy_iterator()]
    for record, (name, inputs) in zip(records, warm_up.read(file), strict=True):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "kitchen"
        assert request.model_spec.signature_name == name
        for key, value in inputs.items():
            np.testing.assert_array_equal(tf.make_ndarray(request.inputs[key]), value)
