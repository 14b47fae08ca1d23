"""A teacher that is trained, found or named by --teacher."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from tests import recorded_training, tiny_training
from train.student import load_or_train_student
from train.teacher import check_teacher, load_or_train_teacher, load_teacher


def test_one_that_ends_in_softmax_answers_in_logits(tmp_path):
    keras.utils.set_random_seed(0)
    clip = keras.Input((None, None, None, 3))
    x = layers.Conv3D(4, 3, padding="same", name="map")(clip)
    x = layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling3D()(x))
    powers = keras.ops.exp(x)
    for name, output in (
        ("softmax", x),
        ("by_hand", powers / keras.ops.sum(powers, axis=-1, keepdims=True)),
    ):
        given = keras.Model(clip, output, name=name)
        path = tmp_path / f"{name}.keras"
        given.save(path)
        config = tiny_training.config(
            f"--teacher={path}", "--num_frames=9", "--image_size=16"
        )
        teacher = load_teacher(config, ("open", "shut"))
        clips = np.random.default_rng(0).uniform(-1, 1, (3, 9, 16, 16, 3))
        logits = teacher(clips, training=False)
        np.testing.assert_allclose(keras.ops.softmax(logits), given(clips), rtol=1e-5)
        assert teacher.get_layer("map") and teacher.name == name


def test_the_labeled_future_clips_teach_it(tmp_path, monkeypatch):
    recorded_training.record(monkeypatch)
    run = recorded_training.Experiment(
        tmp_path,
        *("--teacher_steps=3", "--student_steps=5", "--label_smoothing=0.2"),
        *("--teacher_learning_rate=0.3", "--student_learning_rate=0.5"),
    )
    teacher = load_or_train_teacher(run)
    (call,) = run.trained
    source = call.source
    assert source.pairs == run.data.labeled
    assert (call.steps, call.learning_rate, call.name) == (3, 0.3, "teacher")
    assert source.network is teacher and call.model.network is teacher
    assert source.batches_from(4) == (source.pairs, 4, ("future",))
    # Without pairs that choose nothing is scored.
    assert source.validation()() == {} and not run.scored
    assert call.model._cross_entropy.label_smoothing == 0.2
    assert call.model._field == "future"
    assert run.saved == [(teacher, tmp_path / "teacher.keras")]
    assert teacher.output.shape == (None, 3)


@pytest.mark.parametrize(
    ("flags", "warns"),
    [
        ((), True),
        (("--dataset=demo",), False),
        (("--backbone=tsn_lite", "--weights=imagenet", "--width=1"), False),
    ],
)
def test_few_clips_and_random_weights_are_warned_of(
    flags, warns, tmp_path, monkeypatch, capsys
):
    recorded_training.record(monkeypatch)
    run = recorded_training.Experiment(tmp_path, *flags)
    load_or_train_teacher(run)
    number = len(run.data.labeled)
    text = f"{number} labeled training clips are few for a network that starts"
    assert (text in capsys.readouterr().err) == warns


def _save(path, units=3):
    clip = keras.Input((9, 16, 16, 3))
    pooled = layers.GlobalAveragePooling3D()(clip)
    model = keras.Model(clip, layers.Dense(units)(pooled))
    model.save(path)
    return model


def test_one_that_is_there_is_not_trained_again(tmp_path, monkeypatch):
    recorded_training.record(monkeypatch)
    there = _save(tmp_path / "teacher.keras")
    for task in ("all", "student", "evaluate"):
        run = recorded_training.Experiment(tmp_path, f"--task={task}")
        for found in (
            load_or_train_teacher(run),
            load_teacher(run.config, recorded_training.CLASSES),
        ):
            np.testing.assert_array_equal(*(m.get_weights()[0] for m in (found, there)))
        assert not run.trained and not run.saved


def test_one_that_is_named_is_taken_before_the_run_s_own(tmp_path):
    _save(tmp_path / "teacher.keras")
    named = _save(tmp_path / "named.keras")
    run = recorded_training.Experiment(tmp_path, f"--teacher={tmp_path}/named.keras")
    found = load_or_train_teacher(run)
    np.testing.assert_array_equal(*(m.get_weights()[0] for m in (found, named)))
    with pytest.raises(ValueError, match=r"--teacher=gone.keras does not exist"):
        load_or_train_teacher(
            recorded_training.Experiment(tmp_path, "--teacher=gone.keras")
        )


def test_tasks_that_need_one_say_so(tmp_path):
    for task in ("student", "evaluate"):
        run = recorded_training.Experiment(tmp_path, f"--task={task}")
        with pytest.raises(ValueError, match=f"--task={task} needs a trained teacher"):
            load_or_train_teacher(run)
    with pytest.raises(ValueError, match="teacher.keras does not exist. Train the"):
        load_teacher(run.config, recorded_training.CLASSES)
    with pytest.raises(ValueError, match="--teacher=FILE, or its --run_dir"):
        load_teacher(tiny_training.config(), recorded_training.CLASSES)


def test_one_of_other_classes_is_refused(tmp_path):
    run = recorded_training.Experiment(tmp_path)
    _save(tmp_path / "teacher.keras", units=4)
    with pytest.raises(ValueError, match="knows 4 classes, the data set has 3: cut,"):
        load_or_train_teacher(run)
    _save(tmp_path / "teacher.keras")
    sidecar = {"classes": ["open", "cut", "shut"], "num_frames": 9, "image_size": 16}
    (tmp_path / "teacher.json").write_text(json.dumps(sidecar))
    with pytest.raises(ValueError, match="knows the classes open, cut, shut; the data"):
        load_or_train_teacher(run)
    sidecar["classes"] = list(recorded_training.CLASSES)
    (tmp_path / "teacher.json").write_text(json.dumps(sidecar))
    load_or_train_teacher(run)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num_frames=10",), r"\(9, 16, 16, 3\), and .* \(10, 16, .* --num_frames"),
        (("--image_size=32",), r"are \(9, 32, 32, 3\). Both .* --image_size and"),
        (("--modality=flow",), r"are \(9, 16, 16, 2\). Both need .* --modality\."),
        (("--fit=crop",), r"--fit=stretch, and this .* --fit=crop: .* --fit=stretch\."),
    ],
)
def test_one_that_saw_other_clips_is_refused(tmp_path, flags, message):
    _save(tmp_path / "named.keras")
    sidecar = {"classes": list(recorded_training.CLASSES), "fit": "stretch"}
    sidecar |= {"num_frames": 9, "image_size": 16}
    (tmp_path / "named.json").write_text(json.dumps(sidecar))
    named = f"--teacher={tmp_path}/named.keras"
    load_or_train_teacher(recorded_training.Experiment(tmp_path, named))
    run = recorded_training.Experiment(tmp_path, named, *flags)
    with pytest.raises(ValueError, match=message):
        load_or_train_teacher(run)
    with pytest.raises(ValueError, match=message):
        load_teacher(run.config, recorded_training.CLASSES)


@pytest.mark.parametrize(("choosing", "where"), [(0, "training"), (1200, "validation")])
def test_it_is_compared_with_the_most_frequent_class(tmp_path, capsys, choosing, where):
    # In training 2 is the most frequent class, of two pairs in three; of those that
    # choose, every fourth has it.
    pairs = [recorded_training.pair(n, (1, 0, 0, 2)[n % 4]) for n in range(choosing)]
    run = recorded_training.Experiment(tmp_path, choosing=pairs)
    teacher = object()
    for top1, warns in ((0.7, False), (0.3 if choosing else 0.6, not choosing), (0, 1)):
        run.top1 = top1
        check_teacher(run, teacher)
        said = capsys.readouterr().err
        assert bool(said) == bool(warns)
        assert not said or f"of the {where} clips" in said
    model, field, asked = run.scored[0]
    assert (model, field) == (teacher, "future")
    # Evenly spread, 512 at most.
    assert asked == (pairs[::3] if choosing else run.data.labeled)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--teacher_feature_layer=map",), "--student_init=teacher copies the teacher"),
        (("--student_init=fresh",), "'somebodys', is unknown .*--teacher_feature"),
        (
            ("--student_init=fresh", "--teacher_feature_layer=map"),
            "--teacher_feature_layer: somebodys has no layer 'map'",
        ),
        (
            ("--student_init=fresh", "--teacher_feature_layer=conv,conv"),
            "--feature_layer names 1 layers and --teacher_feature_layer 2",
        ),
        (
            ("--student_init=fresh", "--teacher_feature_layer=pooled"),
            "--teacher_feature_layer: pooled of somebodys has no positions",
        ),
    ],
)
def test_one_that_is_given_stops_before_any_student_is_trained(
    tmp_path, flags, message
):
    clip = keras.Input((9, 16, 16, 3))
    maps = layers.Conv3D(4, 3, name="conv")(clip)
    pooled = layers.GlobalAveragePooling3D(name="pooled")(maps)
    teacher = keras.Model(clip, layers.Dense(3, name="head")(pooled), name="somebodys")

    def experiment(*students):
        named = f"--teacher={tmp_path}/named.keras"
        return recorded_training.Experiment(tmp_path, named, *flags, *students)

    with pytest.raises(ValueError, match=message):
        check_teacher(experiment("--students=no_teacher,attention"), teacher)
    # A student without a teacher needs nothing of it.
    check_teacher(experiment("--students=no_teacher"), teacher)


def test_no_layer_need_be_named_where_no_maps_are_compared(tmp_path, monkeypatch):
    recorded_training.record(monkeypatch)
    clip = keras.Input((9, 16, 16, 3))
    pooled = layers.GlobalAveragePooling3D()(layers.Conv3D(4, 3)(clip))
    teacher = keras.Model(clip, layers.Dense(3)(pooled), name="somebodys")

    def experiment(students):
        named = f"--teacher={tmp_path}/named.keras", "--student_init=fresh"
        return recorded_training.Experiment(tmp_path, *named, f"--students={students}")

    run = experiment("labels,pseudo_labels")
    check_teacher(run, teacher)
    for method in ("labels", "pseudo_labels"):
        load_or_train_student(run, method, teacher)
    assert len(run.trained) == 2
    with pytest.raises(ValueError, match="is unknown here. Name its layer"):
        check_teacher(experiment("pseudo_labels,direct"), teacher)
