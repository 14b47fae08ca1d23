"""Evaluation by all views of a clip: crops and mirror images."""

import types

import keras
import numpy as np
import pytest

from kd_keras.data import pipeline
from kd_keras.data.pairs import Clip, Pair
from train import config as config_lib
from train.evaluate import evaluate
from train.views import Answer, Views, views_of


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_an_answer_has_all_views(channels, mirrored, corners):
    shape = (2, *([5] if corners else []), 3, 4, 5, channels)
    clips = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    inputs = keras.Input(clips.shape[-4:])
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    weights, bias = map(np.float64, model.get_weights())
    expected = []
    for crop in np.moveaxis(clips, 1, 0) if corners else [clips]:
        turned = np.flip(crop, axis=3).copy()
        if channels == 2:
            turned[..., 0] *= -1
        for image in [crop, turned] if mirrored else [crop]:
            expected.append(image.reshape(2, -1) @ weights + bias)
    answer = Answer(model, Views(corners, mirrored))
    assert len(answer.views) == len(expected)
    np.testing.assert_allclose(
        answer.function(clips), np.stack(expected, axis=1), atol=1e-5
    )


@pytest.mark.parametrize(
    "flags, expected",
    [
        ({}, Views(True, True)),
        ({"flip": 0.0}, Views(True, False)),
        ({"crop": False}, Views(False, True)),
        ({"test_views": "mirrored"}, Views(False, True)),
        ({"test_views": "mirrored", "flip": 0.0}, Views()),
        ({"test_views": "one"}, Views()),
    ],
)
def test_networks_see_no_views_that_training_did_not_show(flags, expected):
    assert views_of(config_lib.Augmentation(**flags)) == expected


class _Evaluator:
    """Answers with logits that are given, by network and clip."""

    def __init__(self, labels, logits):
        self._labels, self._logits = np.array(labels), logits

    def answer(self, model, views):
        assert views == Views(True, True)
        return model

    def logits(self, answer, field):
        return self._labels, np.array(self._logits[answer, field], np.float32)


def test_scores_are_of_the_mean_over_views_and_of_the_central_view_beside():
    # Class 0 is right for both clips. Averaged over three views the student is right
    # about both, and its central view about the first alone.
    by_view = [
        [[3, 1, 0], [0, 0.5, 0], [0, 0.5, 0]],
        [[0, 1, 0], [4, 0, 0], [0, 1, 0]],
    ]
    sure = [[[1, 0, 0]] * 3, [[1, 0, 0]] * 3]
    pairs = [
        Pair(Clip(f"{number}.mp4", 0.0, 1.0), Clip(f"{number}.mp4", 2.0, 3.0), 0)
        for number in range(2)
    ]
    nothing = types.SimpleNamespace(bad_videos={}, classes=("a", "b", "c"))
    experiment = types.SimpleNamespace(
        config=config_lib.Config(*(group() for group in config_lib._RUN_GROUPS)),
        data=types.SimpleNamespace(
            index=nothing,
            loader=nothing,
            labeled=pairs,
            evaluated=pairs,
            at_action=[],
            unlabeled=[],
            eval_part="val",
            summary={},
        ),
        evaluator=_Evaluator(
            [0, 0],
            {
                ("teacher", pipeline.FUTURE): sure,
                ("teacher", pipeline.OBSERVED): sure,
                ("student", pipeline.OBSERVED): by_view,
            },
        ),
    )
    results = evaluate(experiment, "teacher", {"attention": "student"})
    assert results["student"]["top1"] == 1.0
    assert results["student"]["one_view_top1"] == 0.5
    assert results["confusion"]["attention"] == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]
