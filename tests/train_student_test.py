"""What a student learns from, and by which flags, without any training."""

import keras
import numpy as np
import pytest

from tests import recorded_training, tiny_training
from train import student as student_lib
from train.student import feature_loss, load_or_train_student

_FLAGS = (
    *("--teacher_steps=3", "--student_steps=5"),
    *("--teacher_learning_rate=0.3", "--student_learning_rate=0.5"),
    *("--label_smoothing=0.2", "--temperature=3", "--feature_weight=0.7", "--remat"),
    *("--student_init=fresh", "--alpha=2", "--direction=student_to_teacher"),
    *("--distance=squared", "--delta=0.5", "--tokens=sum", "--chunk_size=3"),
    *("--feature_layer=conv4_block1_out", "--teacher_feature_layer=conv5_block1_out"),
)


@pytest.fixture(scope="module")
def teacher():
    return recorded_training.network("--seed=9")


@pytest.fixture
def experiment(tmp_path):
    return lambda *flags: recorded_training.Experiment(tmp_path, *_FLAGS, *flags)


def test_labels_alone_teach_from_what_is_observed(experiment, teacher):
    run = experiment()
    student = load_or_train_student(run, "labels", teacher)
    (call,) = run.trained
    data = run.data
    assert call.pairs == [*data.labeled, *data.action_pairs]
    assert (call.steps, call.learning_rate) == (5, 0.5)
    assert call.phase == "student_labels"
    assert call.network is student and call.model.network is student
    assert call.batches_from(4) == (call.pairs, 4, {"fields": ("observed",)})
    assert call.validate == ("validation", student, "observed")
    assert call.model._cross_entropy.label_smoothing == 0.2
    assert call.model._field == "observed"
    assert run.saved == [(student, run.directory / "students" / "labels.keras")]


class _Distiller:
    def __init__(self, network, teacher, **options):
        self.network, self.teacher, self.options = network, teacher, options


@pytest.mark.parametrize("method", ["pseudo_labels", "direct", "attention"])
def test_distillation_learns_from_every_pair_by_its_flags(
    experiment, teacher, method, monkeypatch
):
    monkeypatch.setattr(student_lib, "Distiller", _Distiller)
    run = experiment()
    student = load_or_train_student(run, method, teacher)
    (call,) = run.trained
    assert call.pairs == run.data.for_students
    assert (call.steps, call.learning_rate) == (5, 0.5)
    assert (call.phase, call.network) == (f"student_{method}", student)
    assert call.batches_from(4) == (call.pairs, 4, {})
    assert call.validate == ("validation", student, "observed")
    assert (call.model.network, call.model.teacher) == (student, teacher)
    loss = call.model.options.pop("feature_loss")
    assert (loss is None) == (method == "pseudo_labels")
    assert call.model.options == {
        "feature_weight": 0.7,
        "feature_layer": ("conv4_block1_out",),
        "teacher_feature_layer": ("conv5_block1_out",),
        "temperature": 3.0,
        "feature_channels": None,
        "rematerialize": True,
    }
    assert run.saved == [(student, run.directory / "students" / f"{method}.keras")]


def test_feature_losses_have_the_values_of_their_flags():
    options = tiny_training.config(*_FLAGS[-10:]).distillation
    assert feature_loss("pseudo_labels", options) is None
    random = np.random.default_rng(0)
    theirs, own = random.normal(size=(2, 2, 7, 4))

    def read(queries, values):
        weights = np.exp(2 * np.einsum("bqc,bkc->bqk", queries, values))
        weights /= weights.sum(2, keepdims=True)
        return np.einsum("bqk,bkc->bqc", weights, values)

    direct = feature_loss("direct", options)(theirs, own)
    np.testing.assert_allclose(
        np.mean(direct), ((theirs - own) ** 2).sum((1, 2)).mean(), rtol=1e-4
    )
    attention = feature_loss("attention", options)
    gaps = read(own, theirs) - read(own, own)
    np.testing.assert_allclose(
        np.mean(attention(theirs, own)), (gaps**2).sum((1, 2)).mean(), rtol=1e-3
    )
    assert attention.get_config()["chunk_size"] == 3
    options = tiny_training.config("--distance=huber", "--delta=0.5", "--tokens=sum")
    gaps = np.abs(theirs - own)
    huber = np.where(gaps <= 0.5, gaps**2 / 2, 0.5 * (gaps - 0.25))
    found = feature_loss("direct", options.distillation)(theirs, own)
    np.testing.assert_allclose(np.mean(found), huber.sum((1, 2)).mean(), rtol=1e-4)


class _Stored:
    """Stored features, as far as a student is told of them."""

    def __init__(self, experiment, student, teacher):
        self.student, self.joined = student, 0
        clip = keras.Input((4,))
        self.tail = keras.Model(clip, keras.layers.Dense(3)(clip))
        experiment.stored = self

    def batches(self, pairs, step, method):
        return "stored", pairs, step, method

    def validation(self, network, field):
        return "stored validation", network, field

    def join(self):
        self.joined += 1


@pytest.mark.parametrize("method", ["labels", "attention"])
def test_with_stored_features_the_tail_learns_and_is_joined(
    experiment, teacher, method, monkeypatch
):
    monkeypatch.setattr(student_lib, "StoredFeatures", _Stored)
    monkeypatch.setattr(student_lib, "Distiller", _Distiller)
    # Nothing asks the teacher, whatever the flag says.
    run = experiment("--features=there", "--teacher_cache=memory")
    student = load_or_train_student(run, method, teacher)
    (call,) = run.trained
    stored = run.stored
    assert stored.student is student and stored.joined == 1
    assert call.network is stored.tail and call.model.network is stored.tail
    assert call.batches_from(4) == ("stored", call.pairs, 4, method)
    if method == "labels":
        assert call.validate == ("stored validation", stored.tail, "observed")
    else:
        assert call.validate == ("stored validation", student, "observed")
        assert call.model.teacher is None
        channels = teacher.get_layer("conv5_block1_out").output.shape[-1]
        assert call.model.options["feature_channels"] == [channels]
    assert run.saved[0][0] is student


def test_a_cache_of_the_teacher_gives_the_batches(experiment, teacher, monkeypatch):
    made = []

    class Cache:
        def __init__(self, *arguments):
            made.append(arguments)

        def batches(self, step):
            return "cached", step

    monkeypatch.setattr(student_lib, "TeacherCache", Cache)
    monkeypatch.setattr(student_lib, "Distiller", _Distiller)
    run = experiment("--teacher_cache=memory")
    load_or_train_student(run, "direct", teacher)
    (call,) = run.trained
    assert call.batches_from(4) == ("cached", 4)
    ((owner, pairs, asked, loss, num_maps, key),) = made
    assert num_maps == 1
    assert (owner, pairs, asked) == (run, run.data.for_students, teacher)
    assert loss is call.model.options["feature_loss"]
    assert key[1:] == (("conv5_block1_out",), 2.0)
    # Of the teacher's weights, all of them.
    changed = keras.models.clone_model(teacher)
    weights = teacher.get_weights()
    weights[-1] = weights[-1] + 1
    changed.set_weights(weights)
    load_or_train_student(experiment("--teacher_cache=memory"), "direct", changed)
    assert made[1][5][0] != key[0]


def test_a_student_that_is_there_is_not_trained_again(experiment, teacher):
    run = experiment()
    path = run.directory / "students" / "labels.keras"
    path.parent.mkdir()
    there = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    there.save(path)
    for task in ("all", "evaluate"):
        run = experiment(f"--task={task}")
        found = load_or_train_student(run, "labels", teacher)
        np.testing.assert_array_equal(found.get_weights()[0], there.get_weights()[0])
        assert not run.trained and not run.saved


def test_evaluation_alone_trains_none(experiment, teacher):
    with pytest.raises(ValueError, match="needs trained students, and .*labels.keras"):
        load_or_train_student(experiment("--task=evaluate"), "labels", teacher)
