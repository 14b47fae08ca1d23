"""A camera that sends each frame once gets the answers of whole clips."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export import limits
from export.signatures import ServedStudent, frames, init_state, step
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat

_WINDOW = 11


def _student(short_clip="resample"):
    keras.utils.set_random_seed(0)
    clip = keras.Input((8, 16, 16, 3))
    x = keras.layers.Conv3D(4, 3, strides=2, activation="relu")(clip)
    # Unlike a mean over time it tells the order of the frames.
    x = keras.layers.Flatten()(x)
    model = keras.Model(clip, keras.layers.Dense(3)(x))
    clip_format = ClipFormat(8, 16, short_clip=short_clip)
    return ServedStudent(model, ExportSpec(("a", "b", "c"), clip_format))


def _videos(count=2, num_frames=14):
    """Of another brightness at each moment, so that frames are not taken for others."""
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, num_frames, 20, 24, 3), np.uint8)


@pytest.mark.parametrize("short_clip", ["resample", "loop", "pad_last"])
def test_each_step_answers_as_the_whole_clip_of_its_window(short_clip):
    student, videos = _student(short_clip), _videos()
    state = init_state.serve(student, tf.fill([2], _WINDOW))
    take_step = tf.function(lambda **given: step.serve(student, **given))
    for count in range(1, videos.shape[1] + 1):
        answer = take_step(frame=videos[:, count - 1], **state)
        state = {name: answer.pop(name) for name in state}
        window = videos[:, max(count - _WINDOW, 0) : count]
        expected = frames.serve(student, tf.constant(window))
        assert set(answer) == set(expected)
        np.testing.assert_allclose(
            answer["probabilities"], expected["probabilities"], rtol=1e-5
        )
    assert state["state_seen"].numpy().tolist() == [_WINDOW] * 2


def test_cameras_of_a_batch_may_differ_in_window_and_in_their_first_frame():
    student, videos = _student(), _videos()
    # As a server joins two requests; the second camera has a shorter window.
    state = init_state.serve(student, tf.constant([_WINDOW, 3]))
    for count in range(1, 8):
        if count == 5:
            # The first camera starts anew.
            state["state_seen"] *= (0, 1)
        answer = step.serve(student, videos[:, count - 1], **state)
        state = {name: answer[name] for name in state}
    # One has sent three since then, the other sees no more than three.
    expected = frames.serve(student, tf.constant(videos[:, 4:7]))
    np.testing.assert_allclose(
        answer["probabilities"], expected["probabilities"], rtol=1e-5
    )
    assert state["state_seen"].numpy().tolist() == [3, 3]


def test_a_student_that_refuses_short_clips_answers_from_the_first_frame():
    student, videos = _student("error"), _videos()
    state = init_state.serve(student, tf.fill([2], _WINDOW))
    answer = step.serve(student, videos[:, 0], **state)
    assert np.isfinite(answer["probabilities"]).all()


@pytest.mark.parametrize("window", [[0], [5000], [4, -1], [], [[3]]])
def test_windows_that_cannot_be_are_refused(window):
    with pytest.raises(tf.errors.InvalidArgumentError, match="window must be"):
        init_state.serve(_student(), tf.constant(window, tf.int32))


def test_a_state_of_gigabytes_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "MAX_STATE_BYTES", 10 * 16 * 16 * 3)
    init_state.serve(_student(), tf.constant([5, 5]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 10 frames"):
        init_state.serve(_student(), tf.constant([6, 1]))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("frame", (2, 20, 24, 1)),
        ("frame", (1, 20, 24, 3)),
        ("frame", (20, 24, 3)),
        ("state_frames", (2, 11, 15, 16, 3)),
        ("state_seen", (3,)),
        ("state_window", (2, 1)),
    ],
)
def test_what_is_no_step_is_refused(name, shape):
    student, videos = _student(), _videos()
    state = init_state.serve(student, tf.fill([2], _WINDOW))
    given = {"frame": tf.constant(videos[:, 0]), **state}
    given[name] = tf.zeros(shape, given[name].dtype)
    with pytest.raises(tf.errors.InvalidArgumentError, match="frame must have"):
        step.serve(student, **given)


@pytest.mark.parametrize(
    "changes", [{"state_seen": 12}, {"state_seen": -1}, {"state_window": 0}]
)
def test_a_state_that_no_step_gives_is_refused(changes):
    student, videos = _student(), _videos()
    state = init_state.serve(student, tf.fill([2], _WINDOW))
    state |= {name: tf.fill([2], value) for name, value in changes.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="state_seen must be"):
        step.serve(student, videos[:, 0], **state)
