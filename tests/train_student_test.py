"""What a student learns from, and by which flags, without any training."""

import keras
import numpy as np
import pytest
from absl import flags

from tests import recorded_training, tiny_training
from train import networks, phases
from train import student as student_lib
from train.stored_features import StoredFeatures
from train.student import feature_loss, load_or_train_student
from train.teacher_cache import TeacherCache

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


_CHOOSING = [recorded_training.pair(20, 1)]


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    recorded_training.record(monkeypatch)
    return lambda *flags: recorded_training.Experiment(
        tmp_path, *_FLAGS, *flags, choosing=_CHOOSING
    )


def _assert_validates(run, source, student):
    assert source.validation()() == {"top1": run.top1}
    assert run.scored == [(student, "observed", _CHOOSING)]


@pytest.mark.parametrize("method", ["no_teacher", "labels"])
def test_labels_alone_teach_from_what_is_observed(experiment, teacher, method):
    run = experiment()
    student = load_or_train_student(run, method, teacher)
    (call,) = run.trained
    data, source = run.data, call.source
    assert source.pairs == [*data.labeled, *data.action_pairs]
    assert (call.steps, call.learning_rate) == (5, 0.5)
    assert call.name == f"student_{method}"
    assert source.network is student and call.model.network is student
    assert source.batches_from(4) == (source.pairs, 4, ("observed",))
    _assert_validates(run, source, student)
    assert call.model._cross_entropy.label_smoothing == 0.2
    assert call.model._field == "observed"
    assert run.saved == [(student, run.directory / "students" / f"{method}.keras")]


def test_without_a_teacher_a_student_starts_as_the_teacher_did(experiment, teacher):
    run = experiment("--student_init=teacher")
    starts = {
        "no_teacher": networks.build_student(run.config, teacher.output.shape[-1]),
        "labels": teacher,
    }
    for method, expected in starts.items():
        student = load_or_train_student(run, method, teacher)
        for one, other in zip(
            student.get_weights(), expected.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)


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
    source = call.source
    assert source.pairs == run.data.for_students
    assert (call.steps, call.learning_rate) == (5, 0.5)
    assert (call.name, source.network) == (f"student_{method}", student)
    assert source.batches_from(4) == (source.pairs, 4, ("observed", "future"))
    _assert_validates(run, source, student)
    assert (call.model.network, call.model.teacher) == (student, teacher)
    loss = call.model.options.pop("feature_loss")
    assert (loss is None) == (method == "pseudo_labels")
    channels = teacher.get_layer("conv5_block1_out").output.shape[-1]
    assert call.model.options == {
        "feature_weight": 0.7,
        "feature_layer": () if loss is None else ("conv4_block1_out",),
        "teacher_feature_layer": () if loss is None else ("conv5_block1_out",),
        "temperature": 3.0,
        "feature_channels": None if loss is None else [channels],
        "rematerialize": True,
    }
    assert run.saved == [(student, run.directory / "students" / f"{method}.keras")]


@pytest.mark.parametrize(
    ("method", "fields"),
    [("labels", ("observed",)), ("pseudo_labels", ("observed", "future"))],
)
def test_all_students_learn_from_mixtures(
    experiment, teacher, method, fields, monkeypatch
):
    monkeypatch.setattr(student_lib, "Distiller", _Distiller)
    monkeypatch.setattr(phases, "with_mixup", lambda *mixed, **how: (mixed, how))
    run = experiment("--mixup=0.3", "--seed=7")
    load_or_train_student(run, method, teacher)
    (call,) = run.trained
    (batches, share), how = call.source.batches_from(4)
    assert batches == (call.source.pairs, 4, fields) and share == 0.3
    assert how == {"seed": 7, "start_step": 4, "fields": fields}


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

    field, has_targets = "observed", True

    def __init__(self, experiment, student, teacher, pairs, method):
        self.student, self.pairs, self.method = student, pairs, method
        clip = keras.Input((4,))
        self.network = keras.Model(clip, keras.layers.Dense(3)(clip))


def test_features_of_the_teacher_are_not_for_a_student_without_one():
    stored = ("--features=there", "--students=no_teacher,labels")
    tiny_training.config(*stored, "--student_init=pretrained")
    with pytest.raises(flags.IllegalFlagValueError, match="without the teacher's"):
        tiny_training.config(*stored)


@pytest.mark.parametrize("method", ["labels", "attention"])
def test_with_stored_features_the_tail_learns(experiment, teacher, method, monkeypatch):
    monkeypatch.setattr(student_lib, "StoredFeatures", _Stored)
    monkeypatch.setattr(student_lib, "Distiller", _Distiller)
    # Nothing asks the teacher, whatever the flag says.
    run = experiment("--features=there", "--teacher_cache=memory")
    student = load_or_train_student(run, method, teacher)
    (call,) = run.trained
    stored = call.source
    assert isinstance(stored, _Stored) and stored.student is student
    assert stored.method == method and call.model.network is stored.network
    if method == "labels":
        assert stored.pairs == [*run.data.labeled, *run.data.action_pairs]
    else:
        assert stored.pairs == run.data.for_students
        assert call.model.teacher is None
        channels = teacher.get_layer("conv5_block1_out").output.shape[-1]
        assert call.model.options["feature_channels"] == [channels]
    assert run.saved[0][0] is student


def test_a_cache_of_the_teacher_gives_the_batches(experiment, teacher, monkeypatch):
    made, blocks = [], []

    def fill(cache, folder):
        made.append(folder)
        return blocks

    monkeypatch.setattr(TeacherCache, "_fill", fill)
    monkeypatch.setattr(student_lib, "Distiller", _Distiller)
    run = experiment("--teacher_cache=disk", "--views=2")
    student = load_or_train_student(run, "direct", teacher)
    (call,) = run.trained
    cache = call.source
    assert isinstance(cache, TeacherCache) and cache.network is student
    assert cache.pairs == run.data.for_students
    # The batches hold what the teacher would say.
    assert call.model.teacher is None
    assert cache._names == ["features", "probabilities", "readable"]
    _assert_validates(run, cache, student)
    load_or_train_student(run, "direct", teacher)
    # Of the teacher's weights, all of them.
    changed = keras.models.clone_model(teacher)
    weights = teacher.get_weights()
    weights[-1] = weights[-1] + 1
    changed.set_weights(weights)
    load_or_train_student(run, "direct", changed)
    assert made[0] == made[1] != made[2]
    assert made[0].parent == run.directory / "teacher_targets"


def test_the_tail_of_a_student_is_joined_to_the_whole():
    whole = recorded_training.network("--seed=3")
    stored = StoredFeatures.__new__(StoredFeatures)
    stored.network = recorded_training.network("--seed=4")
    stored._student = whole
    stored.finish()
    for one, other in zip(
        whole.get_weights(), stored.network.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


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
