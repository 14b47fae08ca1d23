"""Parts of a report's page, against loops, closed forms and values by hand."""

import base64
import dataclasses
import types

import cv2
import keras
import numpy as np
import pytest

from export.anticipation import Anticipation
from kd_keras import statistics, visualise
from train import predictions, times
from train.report import (
    activation,
    charts,
    correspondence,
    examples,
    scores,
    strips,
    student_view,
    timeline,
)


def test_blocks_attend_as_their_tokens_do_on_average():
    rng = np.random.default_rng(0)
    grids, coarse = ((2, 3, 2), (1, 4, 2)), ((1, 2, 2), (1, 2, 1))
    weights = rng.dirichlet(np.ones(8), 12)
    found = correspondence.joined(weights, grids, coarse)
    np.testing.assert_allclose(found.sum(1), 1)

    def block(token, grid, blocks):
        places = np.unravel_index(token, grid)
        found = [p * b // g for p, g, b in zip(places, grid, blocks, strict=True)]
        return int(np.ravel_multi_index(found, blocks))

    for first in range(4):
        rows = [i for i in range(12) if block(i, grids[0], coarse[0]) == first]
        for second in range(2):
            columns = [j for j in range(8) if block(j, grids[1], coarse[1]) == second]
            expected = np.mean([sum(weights[i, j] for j in columns) for i in rows])
            assert found[first, second] == pytest.approx(expected)
    np.testing.assert_array_equal(correspondence.joined(weights, grids, grids), weights)


def test_activation_of_a_pooled_linear_head_is_its_weighted_map():
    # Zhou et al., CVPR 2016: with average pooling before a linear layer the evidence
    # for a class is the sum of the channels, weighted by the layer's own weights.
    inputs = keras.Input((2, 3, 4, 5))
    features = keras.layers.Activation("linear", name="map")(inputs)
    pooled = keras.layers.GlobalAveragePooling3D()(features)
    head = keras.layers.Dense(3)
    model = keras.Model(inputs, head(pooled))
    clips = np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5)).astype("float32")
    found = activation.class_activation(model, "map", clips, [2, 0])
    for clip, label, own in zip(clips, (2, 0), found, strict=True):
        evidence = np.maximum(clip @ head.kernel.numpy()[:, label], 0)
        np.testing.assert_allclose(own, evidence / evidence.max(), atol=1e-6)


def test_nothing_is_drawn_where_nothing_speaks_for_a_class():
    clip = np.full((3, 4, 4, 3), 90, "uint8")
    shown = activation.overlay(clip, np.zeros((1, 2, 2), "float32"))
    np.testing.assert_array_equal(shown, clip)
    lit = np.zeros((3, 1, 1), "float32")
    lit[1] = 1
    shown = activation.overlay(clip, lit)
    changed = (shown != clip).any((1, 2, 3)).tolist()
    assert changed == [False, True, False]


def _said(time_s, name, probability=0.5):
    return Anticipation(time_s, time_s + 1.0, (name, "other"), (probability, 0.1))


def test_anticipations_of_one_class_are_joined_at_the_times_they_speak_of():
    found = [_said(0, "a", 0.4), _said(0.5, "a", 0.6), _said(1.0, "b"), _said(1.5, "a")]
    assert timeline.spans(found) == [
        (1.0, 2.0, "a", 0.5),
        (2.0, 2.5, "b", 0.5),
        (2.5, 3.0, "a", 0.5),
    ]


@pytest.mark.parametrize(
    "start_s, name, expected",
    [(1.0, "a", True), (1.9, "a", True), (1.0, "b", False), (2.0, "a", None)],
)
def test_an_anticipation_is_right_if_its_action_starts_then(start_s, name, expected):
    truth = [(start_s, start_s + 5, name)]
    assert timeline.judge((1.0, 2.0, "a", 0.5), truth) is expected


def test_an_anticipation_that_goes_on_over_another_action_is_wrong():
    truth = [(1.0, 1.4, "a"), (1.5, 3.0, "b")]
    assert timeline.judge((1.0, 2.0, "a", 0.5), truth) is False


def _predictions(labels, **logits):
    names = {
        name.replace("_", ".", 1): np.array(v, float) for name, v in logits.items()
    }
    videos = np.array(list("aabb"))
    return predictions.Predictions(
        np.array(labels), videos, videos, np.zeros((4, 4)), names
    )


def test_examples_are_the_surest_right_and_wrong_and_those_that_were_won():
    found = _predictions(
        [0, 0, 0, 0],
        teacher_future=np.eye(2)[[0, 0, 0, 0]],
        students_labels=[[1, 0], [0, 1], [0, 1], [1, 0]],
        students_attention=[[1, 0], [2, 0], [0, 3], [0, 1]],
    )
    assert examples.choose(found, "students.attention", "students.labels") == {
        "best": [1, 0],
        "worst": [2, 3],
        "won": [1],
    }


def test_clips_that_were_won_are_shown_first_unless_one_is_picked():
    chosen = {"best": [4, 1, 2], "worst": [3], "won": [1]}
    assert examples.picked(chosen, None, 5) == [1, 4, 2]
    assert examples.picked(chosen, 0, 5) == [0]
    with pytest.raises(ValueError, match="--clip=5 is none of the 5.* from 0 to 4"):
        examples.picked(chosen, 5, 5)


def test_only_the_place_with_the_highest_weight_is_the_brightest():
    """The others have 0.99920 to 0.99960 of it, which are 254.8 and 254.9 of 255."""
    weights = np.array([[0.2499, 0.2500, 0.2501, 0.2500]], "float32")
    row = np.frombuffer(base64.b64decode(student_view._as_text(weights)), np.uint8)
    assert row.tolist() == [254, 254, 255, 254]


def test_a_strip_wider_than_any_jpeg_has_all_frames_in_their_places():
    clip = np.zeros((700, 96, 96, 1), np.uint8) + np.uint8(30)
    clip[350:] = 200
    content = base64.b64decode(strips.data_uri(clip.repeat(3, -1)).partition(",")[2])
    strip = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert strip.shape == (96, 65_500)
    half = strip.shape[1] // 2
    np.testing.assert_allclose(strip[:, : half - 99], 30, atol=2)
    np.testing.assert_allclose(strip[:, half + 99 :], 200, atol=2)


def test_a_cell_is_picked_by_its_place_or_is_the_strongest():
    shape = types.SimpleNamespace(observed_grid=(2, 3, 4), strongest=7)
    assert correspondence.cell_of(shape) == 7
    assert correspondence.cell_of(shape, (1, 2, 3)) == 23
    for token in ((0, 3, 0), (1, 2), (0, -1, 0)):
        with pytest.raises(ValueError, match="--token is TIME,ROW,COLUMN.* 2 x 3 x 4"):
            correspondence.cell_of(shape, token)


def test_rows_have_gains_over_labels_alone_for_students_only():
    found = _predictions(
        [0, 1, 0, 1],
        teacher_future=[[2, 1], [1, 2], [2, 1], [2, 1]],
        students_labels=[[1, 0]] * 4,
        students_attention=[[2, 1], [1, 2], [2, 1], [1, 2]],
    )
    rows = scores.rows(found)
    assert rows["students.attention"].gain.mean == 0.5
    assert rows["students.attention"].agreement == 0.75
    assert rows["students.labels"].gain is rows["teacher.future"].gain is None
    assert rows["teacher.future"].agreement is None
    # The probabilities are 0.731 and 0.269, and three of four are right.
    expected = abs(0.75 - np.e / (1 + np.e))
    assert rows["teacher.future"].ece == pytest.approx(expected)
    # Without the nat that a right clip has over a wrong one, every loss is log(1 + e).
    assert rows["teacher.future"].loss.mean == pytest.approx(np.log(1 + np.e) - 0.75)
    scaled = statistics.cross_fitted_losses(
        found.labels, found.logits["teacher.future"], found.clusters
    )
    assert rows["teacher.future"].scaled_loss.mean == pytest.approx(scaled.mean())


@pytest.mark.parametrize(
    "chosen, expected",
    [
        ("direct", "students.direct"),
        ("labels", "students.attention"),
        (None, "students.attention"),
    ],
)
def test_labels_alone_are_compared_with_a_distilled_student(chosen, expected):
    logits = {
        f"students_{m}": np.zeros((4, 2)) for m in ("labels", "direct", "attention")
    }
    assert scores.best_distilled(_predictions([0] * 4, **logits), chosen) == expected
    alone = {f"students_{m}": np.zeros((4, 2)) for m in ("no_teacher", "labels")}
    assert scores.best_distilled(_predictions([0] * 4, **alone), "labels") is None


def test_the_times_of_a_run_that_was_interrupted_add_up(tmp_path):
    file = tmp_path / "times.jsonl"
    times.add(file, "student_labels", 30.0, 3.0)
    with open(file, "a") as killed:
        killed.write('{"part": "stud')
    times.add(file, "student_labels", 10.0, 7.0)
    # An evaluation is never continued, and each is all of it.
    times.add(file, "evaluation", 7.0, anew=True)
    times.add(file, "evaluation", 5.0, anew=True)
    first, second = times.read(tmp_path)
    assert first == times.Part("student_labels", 40.0, 0.25)
    assert second == times.Part("evaluation", 5.0, None)
    assert times.read(tmp_path / "none") == []


def test_predictions_come_back_as_they_were(tmp_path):
    found = _predictions([0, 1, 0, 1], teacher_future=np.zeros((4, 2)))
    found = dataclasses.replace(found, clusters=np.array(["g", "g", "b", "b"]))
    predictions.write(tmp_path / "predictions.npz", found)
    again = predictions.read(tmp_path / "predictions.npz")
    assert again.has_clips_of(found) and [*again.logits] == ["teacher.future"]
    assert [*again.clusters] == ["g", "g", "b", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_a_network_that_said_no_finite_number_is_named(tmp_path):
    logits = np.zeros((4, 2))
    logits[1, 0], logits[3, 1] = np.nan, np.inf
    found = _predictions(
        [0, 1, 0, 1], teacher_future=np.eye(2)[[0, 1, 0, 1]], students_labels=logits
    )
    predictions.write(tmp_path / "predictions.npz", found)
    with pytest.raises(ValueError, match="some of the 4 clips.*: students.labels of 2"):
        predictions.read(tmp_path / "predictions.npz")


def test_no_mark_of_the_pseudo_labels_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(charts.plt, "close", lambda figure: None)
    chances = np.array([[0.6, 0.4], [0.4, 0.6]])
    quality = statistics.pseudo_label_quality([0, 1], chances)
    charts.pseudo_labels(quality, tmp_path / "chart.svg")
    figure = charts.plt.gcf()
    monkeypatch.undo()
    [axis] = figure.axes
    frame = axis.get_window_extent()
    radius = axis.lines[0].get_markersize() / 2 * figure.dpi / 72
    for line in axis.lines:
        places = axis.transData.transform(line.get_xydata())
        assert (places - radius >= (frame.x0, frame.y0)).all()
        assert (places + radius <= (frame.x1, frame.y1)).all()
    charts.plt.close(figure)


@pytest.mark.parametrize("place", [None, 4, 0.3, 0.6, 0.95])
def test_damaged_predictions_are_named(place, tmp_path):
    found = _predictions([0, 1, 0, 1], teacher_future=np.eye(2)[[0, 1, 1, 0]])
    path = tmp_path / "predictions.npz"
    predictions.write(path, found)
    content = bytearray(path.read_bytes())
    if place is None:
        del content[len(content) // 2 :]
    else:
        first = place if place > 1 else int(place * len(content))
        content[first : first + 30] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="predictions.npz .*damaged.*--task=evaluate"):
        predictions.read(path)


def _touches_an_edge(picture):
    """Whether letters of a picture on white are cut."""
    edges = (picture[:, :1], picture[:, -1:], picture[:1], picture[-1:])
    return any((edge != 255).any() for edge in edges)


def test_numbers_of_steps_are_not_cut(tmp_path):
    records = [{"step": step, "loss": 1 / step} for step in (200, 1200)]
    picture = visualise.curves({"teacher": records}, tmp_path / "curves.png")
    assert not _touches_an_edge(picture)


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("letters", [3, 25, 60])
def test_no_text_of_a_chart_is_cut(count, letters, tmp_path):
    classes = ["n" * letters] * count
    matrices = dict.fromkeys(("student", "teacher"), np.eye(count))
    if letters < 60:
        confusion = visualise.confusion(matrices, classes, tmp_path / "confusion.png")
        assert not _touches_an_edge(confusion)
    gains = {label: statistics.Interval(0.1, -0.2, 0.3) for label in range(count)}
    path = tmp_path / "gains.png"
    charts.class_gains(gains, dict.fromkeys(gains, 9), classes, path)
    assert not _touches_an_edge(cv2.imread(str(path)))


@pytest.mark.parametrize("count", [1, 3])
def test_no_text_of_a_reliability_diagram_is_cut(count, tmp_path):
    labels, chances = np.array([0, 1]), np.array([[0.8, 0.2], [0.4, 0.6]])
    networks = {f"teacher {n}": (labels, chances, chances) for n in range(count)}
    path = tmp_path / "reliability.png"
    charts.reliability(networks, path)
    assert not _touches_an_edge(cv2.imread(str(path)))
