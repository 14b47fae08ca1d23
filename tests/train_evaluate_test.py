"""Scores of networks by all views of every readable clip, against NumPy."""

import pathlib
import re
import tempfile
import types

import keras
import numpy as np
import pytest

from kd_keras.data.batches.fields import FUTURE, OBSERVED
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.segments import VAL, Clip, Pair
from kd_keras.data.video.info import BadVideo, Video
from train import predictions
from train.evaluate import bad_videos, evaluate, majority
from train.evaluator import Evaluator
from train.flags import config as config_lib
from train.loop.distribution import Distribution

_SIDE, _RESIZED, _CLASSES = 4, 6, ("cut", "open", "shut")
_FORMAT = ClipFormat(num_frames=2, image_size=_SIDE, resize_ratio=_RESIZED / _SIDE)


def _pair(video, start_s, label):
    """An action of 1 s that was observed until 1 s before it."""
    observed = Clip(video, start_s - 2, start_s - 1)
    return Pair(observed, Clip(video, start_s, start_s + 1), label)


_TRAINING = [
    *(_pair("a", start_s, label) for start_s, label in ((2, 2), (5, 1), (8, 2))),
    *(_pair("b", start_s, label) for start_s, label in ((2, 2), (5, 1), (8, 0))),
    _pair("b", 11, 2),
]
_EVALUATED = [
    *(_pair("c", start_s, label) for start_s, label in ((2, 2), (5, 1), (8, 1))),
    *(_pair("gone", start_s, label) for start_s, label in ((2, 0), (5, 1))),
    *(_pair("d", start_s, label) for start_s, label in ((2, 2), (5, 0))),
]
_READABLE = [0, 1, 2, 5, 6]


class _Loader:
    """Random clips, the same for the same clip; one video cannot be read."""

    clip_format = _FORMAT

    def __init__(self, pairs):
        self.bad_videos, self._clips = {}, {}
        random = np.random.default_rng(0)
        for pair in pairs:
            for clip in (pair.observed, pair.future):
                shape = (2, _RESIZED, _RESIZED, 3)
                self._clips[clip] = random.integers(0, 256, shape, np.uint8)

    def load(self, clip):
        if clip.video == "gone":
            self.bad_videos["gone"] = "no frames"
            raise BadVideo("gone", "no frames")
        return self._clips[clip]


def _network(seed):
    """A linear network, and its logits for one clip in NumPy."""
    random = np.random.default_rng(seed)
    inputs = keras.Input((2, _SIDE, _SIDE, 3))
    head = keras.layers.Dense(3)
    model = keras.Model(inputs, head(keras.layers.Flatten()(inputs)))
    weights = [random.normal(size=w.shape) for w in head.get_weights()]
    head.set_weights(weights)
    return model, lambda clip: clip.reshape(-1) @ weights[0] + weights[1]


def _by_crop(predict, clip, corners=True, mirrored=True):
    """Logits (crops, classes) of a clip of bytes, the central crop first."""
    middle, last = (_RESIZED - _SIDE) // 2, _RESIZED - _SIDE
    places = [(middle, middle), (0, 0), (0, last), (last, 0), (last, last)]
    logits = []
    for top, left in places if corners else places[:1]:
        crop = clip[:, top : top + _SIDE, left : left + _SIDE] / 127.5 - 1
        logits.append(predict(crop))
        if mirrored:
            logits.append(predict(crop[:, :, ::-1]))
    return np.array(logits)


def _evaluator(pairs=_EVALUATED, batch_size=2, distribution=None):
    distribution = Distribution() if distribution is None else distribution
    return Evaluator(pairs, _Loader(_EVALUATED), batch_size, 3, distribution)


def _experiment(evaluator, test_crops="ten", **data):
    augmentation = config_lib.Augmentation(test_crops=test_crops)
    groups = {"c": "kitchen", "gone": None, "d": None}
    index = types.SimpleNamespace(
        classes=_CLASSES,
        videos={
            name: Video(name, pathlib.Path(name), VAL, group=group)
            for name, group in groups.items()
        },
        bad_videos={"e": "no file"},
    )
    known = dict(
        index=index,
        loader=evaluator._loader,
        labeled=_TRAINING,
        action_pairs=_TRAINING[:2],
        unlabeled=_TRAINING[:3],
        evaluated=_EVALUATED,
        eval_part=VAL,
        choosing=_EVALUATED,
        choosing_part=VAL,
        summary={"labeled": {"pairs": 7}},
    )
    return types.SimpleNamespace(
        config=types.SimpleNamespace(augmentation=augmentation, data=config_lib.Data()),
        data=types.SimpleNamespace(**known | data),
        evaluator=evaluator,
        directory=pathlib.Path(tempfile.mkdtemp()),
        distribution=Distribution(),
    )


def _expected(by_crop, labels):
    """The scores, from logits (pairs, crops, classes)."""
    logits = by_crop.mean(1)
    hits = logits.argmax(1) == labels
    powers = np.exp(logits.astype(np.float64))
    return {
        "top1": np.mean(hits),
        "top5": 1.0,
        "class_mean_recall": np.mean(
            [np.mean(hits[labels == label]) for label in set(labels)]
        ),
        "loss": np.mean(
            -np.log(powers[np.arange(len(labels)), labels] / powers.sum(1))
        ),
        "one_view_top1": np.mean(by_crop[:, 0].argmax(1) == labels),
    }


def _rows(logits, labels):
    """The confusion matrix: classes in rows, predictions in columns."""
    rows = [[0] * 3 for _ in range(3)]
    for label, predicted in zip(labels, logits.argmax(1), strict=True):
        rows[label][predicted] += 1
    return rows


@pytest.mark.parametrize(
    ("test_crops", "crops"),
    [("ten", (True, True)), ("flip", (False, True)), ("center", (False, False))],
)
def test_every_number_of_the_results(test_crops, crops):
    evaluator = _evaluator()
    teacher, student, other = map(_network, (1, 2, 3))
    students = {"labels": student[0], "direct": other[0]}
    experiment = _experiment(evaluator, test_crops)
    results = evaluate(experiment, teacher[0], students)

    labels = np.array([_EVALUATED[index].label for index in _READABLE])
    logits = {
        name: np.stack(
            [
                _by_crop(
                    network[1],
                    evaluator._loader.load(getattr(_EVALUATED[index], field)),
                    *crops,
                )
                for index in _READABLE
            ]
        )
        for name, network, field in (
            ("future", teacher, "future"),
            ("observed", teacher, "observed"),
            ("labels", student, "observed"),
            ("direct", other, "observed"),
        )
    }
    scores = {name: _expected(values, labels) for name, values in logits.items()}
    mean = {name: values.mean(1) for name, values in logits.items()}
    for method in ("labels", "direct"):
        agrees = mean[method].argmax(1) == mean["future"].argmax(1)
        scores[method]["agreement"] = np.mean(agrees)
        assert results["students"][method] == pytest.approx(scores[method])
    for field in ("future", "observed"):
        assert results["teacher"][field] == pytest.approx(scores[field])
    best = max(("labels", "direct"), key=lambda method: scores[method]["top1"])
    assert results["best_student"] == best
    assert results["student"] == results["students"][best]
    assert results["student_choice"]["num_pairs"] == len(_READABLE)
    assert results["confusion"] == {
        "teacher": _rows(mean["future"], labels),
        "labels": _rows(mean["labels"], labels),
        "direct": _rows(mean["direct"], labels),
    }
    # Class 2 is the most frequent one in training.
    assert results["majority"] == {"top1": 2 / 5}
    # In training 1 follows 2, and 2 as well as 0 follows 1 (2 came first); the guesses
    # are 2, 1, 2 in c and 2, 1 in d.
    assert results["bigram"] == {"top1": 3 / 5}
    counted = {name: value for name, value in results.items() if "num_" in name}
    assert counted == {
        "num_train_labeled": 7,
        "num_train_at_action": 2,
        "num_train_unlabeled": 3,
        "num_evaluated": 5,
        "num_classes": 3,
    }
    assert (results["eval_part"], results["classes"]) == ("val", list(_CLASSES))
    assert results["data"] == {"labeled": {"pairs": 7}}
    reasons = {"e": "no file", "gone": "no frames"}
    assert results["bad_videos"] == {"count": 2, "reasons": reasons}

    kept = predictions.read(experiment.directory / "predictions.npz")
    assert list(kept.videos) == ["c", "c", "c", "d", "d"]
    assert list(kept.clusters) == [*["group kitchen"] * 3, *["video d"] * 2]
    assert kept.times_s[1].tolist() == [3, 4, 5, 6]
    np.testing.assert_array_equal(kept.labels, labels)
    names = ("teacher.future", "teacher.observed", "students.labels", "students.direct")
    assert [*kept.logits] == [*names]
    for name, values in zip(names, mean.values(), strict=True):
        np.testing.assert_allclose(kept.logits[name], values, rtol=1e-5)


def test_a_video_that_turns_out_unreadable_on_the_way_counts_for_no_network():
    class Loader(_Loader):
        """Of video d a clip that is observed cannot be read, the others can."""

        def load(self, clip):
            if clip == _EVALUATED[6].observed:
                self.bad_videos["d"] = "damaged"
                raise BadVideo("d", "damaged")
            return super().load(clip)

    evaluator = _evaluator()
    evaluator._loader = Loader(_EVALUATED)
    students = {"labels": _network(2)[0]}
    experiment = _experiment(evaluator)
    results = evaluate(experiment, _network(1)[0], students)
    # All three clips of c, and one of the two of d.
    read = [0, 1, 2, 5]
    assert results["num_evaluated"] == len(read)
    assert results["bad_videos"]["reasons"]["d"] == "damaged"
    assert np.sum(results["confusion"]["teacher"]) == len(read)
    kept = predictions.read(experiment.directory / "predictions.npz")
    assert kept.labels.tolist() == [_EVALUATED[index].label for index in read]
    assert {len(logits) for logits in kept.logits.values()} == {len(read)}


def test_a_run_names_the_unreadable_videos_of_all_its_workers():
    experiment = _experiment(_evaluator())
    experiment.data.loader.bad_videos["gone"] = "no frames"
    workers = [_Worker(0), _Worker(1)]
    found = bad_videos(experiment.data, workers[0])
    assert found["reasons"] == {"e": "no file", "gone": "no frames"}
    experiment.data.loader.bad_videos.clear()
    bad_videos(experiment.data, workers[1])
    workers[1].all, workers[1].given = [worker.given for worker in workers], []
    found = bad_videos(experiment.data, workers[1])
    assert found["count"] == 2 and "another worker" in found["reasons"]["gone"]


class _Given:
    """An evaluator that knows the logits (pairs, crops, classes) by network, field."""

    def __init__(self, labels, logits):
        self._logits = logits
        self._loader = _Loader([])
        self.num_clips = len(labels)

    def counted_by(self, bar):
        return self

    def predictor(self, model, crops):
        return model

    ask = Evaluator.ask

    def indexed_logits(self, predictor, field):
        logits = np.array(self._logits[predictor, field], np.float32)
        return np.arange(len(logits)), logits

    def over(self, pairs):
        return _Given([pair.label for pair in pairs], self._logits["others"])


def test_scores_are_of_the_mean_over_views_and_of_the_central_view_beside():
    # Class 0 is right for both clips. Averaged over three views the student is right
    # about both, and its central view about the first alone.
    by_crop = [
        [[3, 1, 0], [0, 0.5, 0], [0, 0.5, 0]],
        [[0, 1, 0], [4, 0, 0], [0, 1, 0]],
    ]
    sure = [[[1, 0, 0]] * 3] * 2
    given = _Given(
        [0, 0],
        {
            ("teacher", FUTURE): sure,
            ("teacher", OBSERVED): sure,
            ("student", OBSERVED): by_crop,
        },
    )
    pairs = [_pair("c", 2, 0), _pair("d", 2, 0)]
    experiment = _experiment(given, evaluated=pairs)
    results = evaluate(experiment, "teacher", {"attention": "student"})
    assert results["student"]["top1"] == 1.0
    assert results["student"]["one_view_top1"] == 0.5
    assert results["student"]["agreement"] == 1.0
    assert results["confusion"]["attention"] == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert "bigram" not in results


def test_students_are_chosen_by_the_mean_over_views_of_the_pairs_that_choose(capsys):
    right, wrong = [[[2, 0, 0]] * 2], [[[0, 2, 0]] * 2]
    # Its central view alone is wrong.
    right_on_average = [[[0, 1, 0], [5, 0, 0]]]
    fields = OBSERVED, FUTURE
    known = {("teacher", field): right for field in fields}
    known |= {("one", fields[0]): right, ("other", fields[0]): wrong}
    known["others"] = {
        ("one", fields[0]): wrong,
        ("other", fields[0]): right_on_average,
    }
    experiment = _experiment(
        _Given([0], known),
        evaluated=[_pair("d", 2, 0)],
        eval_part="test",
        choosing=[_pair("c", 2, 0)],
        choosing_part=VAL,
    )
    results = evaluate(experiment, "teacher", {"labels": "one", "direct": "other"})
    assert results["best_student"] == "direct"
    assert results["student"]["top1"] == 0.0
    chosen = results["student_choice"]["scores"]
    assert [chosen[method]["top1"] for method in ("labels", "direct")] == [0.0, 1.0]
    # On the evaluated pair both are right.
    assert "teacher has little to teach" in capsys.readouterr().err


def test_without_students_there_are_the_teacher_and_the_counts():
    results = evaluate(_experiment(_evaluator(), "one"), _network(1)[0], {})
    assert set(results["confusion"]) == {"teacher"}
    assert not {"student", "best_student", "students"} & set(results)


class _Worker(Distribution):
    """One of two workers; each is asked in turn, and then both have the rows of all."""

    def __init__(self, worker):
        super().__init__()
        self.worker, self.num_workers, self.num_replicas = worker, 2, 2
        self.given, self.all = [], None

    def gather(self, values):
        self.given.append(values)
        if self.all is None:
            return values
        return np.concatenate([rows[len(self.given) - 1] for rows in self.all])


def test_two_workers_give_the_logits_of_one_in_order():
    model, _ = _network(2)
    expected = _evaluator().logits(_evaluator().predictor(model), OBSERVED)
    assert list(expected[0]) == [_EVALUATED[index].label for index in _READABLE]
    workers = [_Worker(0), _Worker(1)]
    for worker in workers:
        evaluator = _evaluator(distribution=worker)
        evaluator.indexed_logits(evaluator.predictor(model), OBSERVED)
    rows = [worker.given for worker in workers]
    assert [given[0].shape for given in rows] == [(4,), (4,)]
    for worker in workers:
        worker.given, worker.all = [], rows
        evaluator = _evaluator(distribution=worker)
        predictor = evaluator.predictor(model)
        indices, _ = evaluator.indexed_logits(predictor, OBSERVED)
        assert list(indices) == _READABLE
        worker.given = []
        for found, value in zip(
            evaluator.logits(predictor, OBSERVED), expected, strict=True
        ):
            np.testing.assert_allclose(found, value, rtol=1e-5)


def test_a_worker_without_a_pair_has_empty_rows():
    worker = _Worker(1)
    evaluator = _evaluator(_EVALUATED[:1], distribution=worker)
    worker.all = [
        [np.array([0]), np.ones((1, 1, 3))],
        [np.array([-1]), np.zeros((1, 1, 3))],
    ]
    indices, logits = evaluator.indexed_logits(
        evaluator.predictor(_network(1)[0]), OBSERVED
    )
    assert list(worker.given[0]) == [-1] and not worker.given[1].any()
    assert list(indices) == [0] and logits.tolist() == [[[1, 1, 1]]]


def test_as_many_crops_are_asked_at_once_as_clips_in_training():
    evaluator, sizes = _evaluator(batch_size=10), []
    predict = evaluator._distribution.predict

    def counted(function, clips):
        sizes.append(clips.shape[:2] if clips.ndim == 6 else clips.shape[:1])
        return predict(function, clips)

    evaluator._distribution.predict = counted
    model, _ = _network(1)
    for test_crops in ("ten", "center"):
        evaluate(_experiment(evaluator, test_crops), model, {})
    # Of the future and the observed clips.
    assert sizes == [(2, 5), (2, 5), (1, 5)] * 2 + [(5,)] * 2


@pytest.mark.parametrize(("choosing", "clips"), [(VAL, 4 * 7), ("held_out", 4 * 7 + 4)])
def test_the_bar_ends_at_all_clips_that_networks_see(choosing, clips, capsys):
    experiment = _experiment(
        _evaluator(), choosing=_EVALUATED[4:6], choosing_part=choosing
    )
    students = {
        name: _network(seed)[0] for name, seed in (("labels", 2), ("direct", 3))
    }
    evaluate(experiment, _network(1)[0], students)
    shown = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    # The teacher sees observed and future clips. Two of the seven cannot be read.
    assert f"evaluation: {clips} clips; crops of each: 10" in shown
    assert shown.splitlines()[-1].startswith(f"{clips}/{clips} ")


def test_none_that_can_be_read_is_an_error():
    evaluator = _evaluator(_EVALUATED[3:5])
    with pytest.raises(ValueError, match="None of the evaluated clips can be read"):
        evaluator.logits(evaluator.predictor(_network(1)[0]), FUTURE)


def test_validation_sees_the_central_view_and_has_the_loss():
    evaluator = _evaluator()
    model, predict = _network(4)
    # So sure that exponentials of its logits overflow in float32.
    model.layers[-1].set_weights([200 * w for w in model.layers[-1].get_weights()])
    found = evaluator.validation(model, FUTURE)()
    labels = np.array([_EVALUATED[index].label for index in _READABLE])
    logits = np.stack(
        [
            200 * center_logits
            for index in _READABLE
            for center_logits in _by_crop(
                predict, evaluator._loader.load(_EVALUATED[index].future), False, False
            )
        ]
    )
    assert np.abs(logits).max() > 100
    losses = [
        -(own[label] - np.logaddexp.reduce(own))
        for own, label in zip(logits, labels, strict=True)
    ]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found["top1"] == np.mean(logits.argmax(1) == labels)
    assert set(found) == {"top1", "top5", "class_mean_recall", "loss"}


def test_predictors_are_compiled_once_for_each_network_and_crops():
    evaluator, (model, _) = _evaluator(), _network(1)
    predictor = evaluator.predictor(model)
    assert evaluator.over(_EVALUATED[:1]).predictor(model) is predictor
    assert evaluator.predictor(_network(1)[0]) is not predictor
    assert evaluator.over(_EVALUATED[:1]).logits(predictor, FUTURE)[0] == [2]


def test_the_majority_is_that_of_training():
    assert majority([0, 1, 1], np.array([0, 0, 1])) == 1 / 3
