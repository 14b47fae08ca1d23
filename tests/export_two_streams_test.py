"""An RGB student and a flow student in one export, which computes flow itself."""

import csv
import dataclasses
import io
import json
import pathlib

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from export import (
    anticipation,
    flow_in_graph,
    live,
    predict,
    preprocess,
    saved_model,
    student_file,
    verification,
)
from export import main as export_main
from export.exported_student import ExportedStudent
from export.signatures import ServedStudent, TwoStreams
from export.sliding_flags import Sliding
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.frames import read_clip
from kd_keras.data.segments import TEST
from kd_keras.data.video import reading
from kd_keras.data.video.flow import EPIC_FLOW
from kd_keras.data.video.info import Video

_CLASSES = ("cut", "wash")
_RGB = ExportSpec(_CLASSES, ClipFormat(4, 16), observed_s=0.4, lead_time_s=0.5)
_FLOW = dataclasses.replace(
    _RGB, clip_format=ClipFormat(6, 20, modality="flow", short_clip="loop")
)
_WEIGHTS = (1.0, 0.5)


def _model(spec, last=None):
    keras.utils.set_random_seed(spec.clip_format.channels)
    shape = (spec.clip_format.num_frames, *2 * (spec.clip_format.image_size,))
    clip = keras.Input((*shape, spec.clip_format.channels))
    x = keras.layers.Conv3D(4, 3, strides=3)(clip)
    spread = keras.initializers.RandomUniform(0.9, 1.1)
    x = keras.layers.BatchNormalization(moving_variance_initializer=spread)(x)
    x = keras.layers.Flatten()(keras.layers.ReLU()(x))
    return keras.Model(clip, keras.layers.Dense(2, activation=last)(x))


def _scene(num_frames, height=24, width=32):
    """RGB frames of a texture that moves to the right."""
    texture = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 2)
    return np.stack([np.roll(texture, n, axis=1) for n in range(num_frames)])


def _video(folder, frames, frame_rate):
    folder.mkdir()
    for number, frame in enumerate(frames, 1):
        cv2.imwrite(str(folder / f"{number:05d}.png"), frame[..., ::-1])
    return Video("v", folder, TEST, frame_rate)


def test_the_graph_computes_the_flow_of_training(tmp_path):
    frames = _scene(10, 20, 28)
    clip_format = ClipFormat(
        9, 16, resize_ratio=20 / 16, modality="flow", flow_encoding=EPIC_FLOW
    )

    @tf.function(autograph=False)
    def clips_of(frames, observed_s):
        time = tf.shape(frames)[1]
        pairs = flow_in_graph.choose_pairs(time, clip_format, observed_s)
        return flow_in_graph.flow_clips(frames, pairs, clip_format)

    # At 25 per second and less neighbors are compared, at 50 every second one.
    for frame_rate in (12.5, 50.0):
        # OpenCV's flow, of a video that starts with the clip.
        video = _video(tmp_path / str(frame_rate), frames, frame_rate)
        info, observed_s = reading.probe(video), 10 / frame_rate
        levels = read_clip(video, info, 0.0, observed_s, clip_format)
        expected = preprocess.prepare_frames(tf.constant(levels[None]), clip_format)
        clips = clips_of(tf.constant(frames[None]), tf.constant(observed_s)).numpy()
        assert clips.shape == (1, 9, 16, 16, 2)
        # It moves, and a level of 255 is 0.01.
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(clips, expected, atol=0.05)
        assert np.abs(clips - expected).mean() < 0.005


def test_a_flow_student_that_refuses_short_clips_tells_how_many_frames_it_takes():
    clip_format = dataclasses.replace(_FLOW.clip_format, short_clip="error")
    flow_in_graph.choose_pairs(tf.constant(7), clip_format, 0.4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="time of 7 or more"):
        flow_in_graph.choose_pairs(tf.constant(6), clip_format, 0.4)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Student files of both; the flow student ends in probabilities."""
    folder = tmp_path_factory.mktemp("students")
    models = _model(_RGB), _model(_FLOW, "softmax")
    paths = [str(folder / name) for name in ("rgb.keras", "flow.keras")]
    for model, path, spec in zip(models, paths, (_RGB, _FLOW), strict=True):
        student_file.save_student(model, path, spec)
    return models, paths


@pytest.fixture(scope="module")
def exported(files, tmp_path_factory):
    _, paths = files
    output = tmp_path_factory.mktemp("models") / "pair"
    weights = tuple(str(weight) for weight in _WEIGHTS)
    return export_main.run(
        export_main.Request(",".join(paths), str(output), fuse_weights=weights)
    )


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(exported)
    yield loaded.signatures


def _fused(models, rgb_frames, flow_levels):
    """The answer of the Keras models, added by NumPy; the flow one has a softmax."""
    rgb, flow = (
        model(preprocess.prepare_frames(tf.constant(given), spec.clip_format)).numpy()
        for model, given, spec in zip(
            models, (rgb_frames, flow_levels), (_RGB, _FLOW), strict=True
        )
    )
    powers = np.exp(_WEIGHTS[0] * rgb + _WEIGHTS[1] * np.log(flow))
    return powers / powers.sum(-1, keepdims=True)


def test_frames_and_flow_give_the_weighted_sum_of_logits(files, signatures):
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (3, 7, 16, 16, 3), np.uint8)
    flow = random.integers(0, 256, (3, 6, 30, 40, 2), np.uint8)
    expected = _fused(files[0], frames, flow)
    outputs = signatures["frames_and_flow"](
        frames=tf.constant(frames), flow=tf.constant(flow)
    )
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-4)
    # Both streams count.
    for other in (
        _fused(files[0], frames[::-1], flow),
        _fused(files[0], frames, flow[::-1]),
    ):
        assert np.abs(other - expected).max() > 1e-3


def test_frames_alone_give_the_answer_for_opencvs_flow(files, signatures, tmp_path):
    clips = np.stack([_scene(10), _scene(20)[10:, :, ::-1]])
    levels = []
    for number, clip in enumerate(clips):
        video = _video(tmp_path / str(number), clip, 25.0)
        info = reading.probe(video)
        levels.append(read_clip(video, info, 0.0, 0.4, _FLOW.clip_format))
    expected = _fused(files[0], clips, np.stack(levels))
    outputs = signatures["serving_default"](frames=tf.constant(clips))
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=0.01)
    # The motion counts more than what the two flows differ by.
    still = np.full_like(levels, 127)
    assert np.abs(_fused(files[0], clips, still) / expected - 1).max() > 0.03


def test_a_single_frame_stands_still(files, signatures):
    frame, still = _scene(1)[None], np.full((1, 1, 24, 32, 2), 127, np.uint8)
    outputs = signatures["serving_default"](frames=tf.constant(frame))
    expected = _fused(files[0], frame, still)
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-4)


def test_files_give_the_answer_of_frames_that_were_scaled(signatures):
    frames = _scene(10)[None]
    files = [[tf.io.encode_png(frame).numpy() for frame in frames[0]]]
    scaled = preprocess.scale(tf.constant(frames[0]), _FLOW.clip_format)
    expected = signatures["serving_default"](frames=scaled[None])["probabilities"]
    found = signatures["encoded_frames"](encoded_frames=tf.constant(files))
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-4)
    files[0][5] = tf.io.encode_png(frames[0, 5, 1:]).numpy()
    with pytest.raises(tf.errors.InvalidArgumentError, match="one height and width"):
        signatures["encoded_frames"](encoded_frames=tf.constant(files))


@pytest.mark.parametrize(
    ("frames", "flow", "message"),
    [
        ((2, 7, 16, 16, 3), (1, 5, 30, 40, 2), "the same batch"),
        ((2, 7, 16, 16, 3), (2, 5, 30, 40, 3), "flow must have the shape"),
        ((2, 0, 16, 16, 3), (2, 5, 30, 40, 2), "frames must have the shape"),
        ((), (2, 5, 30, 40, 2), "frames must have the shape"),
    ],
)
def test_frames_and_flow_that_do_not_fit_are_refused(signatures, frames, flow, message):
    given = tf.zeros(frames, tf.uint8), tf.zeros(flow, tf.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["frames_and_flow"](frames=given[0], flow=given[1])


def test_the_check_of_a_version_covers_both_students(files, exported, monkeypatch):
    # The program in C, which other tests ask, takes a second for each record.
    monkeypatch.setattr(verification.without_python, "missing", lambda: "not asked")
    said, students = [], ",".join(files[1])
    # The export has passed it already.
    compared = []
    monkeypatch.setattr(
        verification, "check_in_fresh_process", lambda *given: compared.append(given)
    )
    verification.verify(exported, students, report=said.append)
    ((served, folder),) = compared
    assert (served.weights, folder) == (_WEIGHTS, exported)
    assert (served.rgb.spec, served.flow.spec) == (_RGB, _FLOW)
    assert f"  {students} gives the same answers" in said
    names = ("serving_default", "encoded_frames", "frames_and_flow", "describe")
    for name in names:
        assert f"  {name}: 4 requests answered" in said
    with pytest.raises(ValueError, match="was made of RGB.keras,FLOW.keras"):
        verification.verify(exported, files[1][0], report=said.append)


def test_the_folder_says_what_is_in_it(files, exported):
    folder = pathlib.Path(exported)
    content = json.loads((folder / "assets.extra/two_streams.json").read_text())
    assert content["weights"] == [1.0, 0.5]
    for name, spec in (("rgb", _RGB), ("flow", _FLOW)):
        assert student_file.from_json(json.dumps(content[name])) == spec
    # Frames are large enough for both.
    of_both = dataclasses.replace(
        _RGB.clip_format, image_size=20, resize_ratio=_FLOW.clip_format.resize_ratio
    )
    expected = dataclasses.replace(_RGB, clip_format=of_both, every_frame=True)
    assert ExportedStudent(folder).spec == expected
    card = json.loads((folder / "assets/run_card.json").read_text())
    assert [each["weight"] for each in card["streams"].values()] == [1.0, 0.5]
    # BatchNorm's four numbers a channel are a part of the convolutions.
    trained = sum(model.count_params() for model in files[0])
    assert card["num_parameters"] == trained - 2 * 4 * 4
    assert {"rgb.keras", "flow.keras"} < set(card["sha256"])
    text = (folder / "assets/model_card.md").read_text()
    assert "4 frames of 16 x 16" in text and "6 flows of 20 x 20" in text


def test_batch_norm_stays_where_it_is_if_asked(files, tmp_path, monkeypatch):
    written = []

    def write(served, folder):
        written.extend(one.model.count_params() for one in served.streams)
        raise ValueError("enough")

    monkeypatch.setattr(saved_model, "_write", write)
    given = ",".join(files[1]), str(tmp_path / "out")
    with pytest.raises(ValueError, match="enough"):
        export_main.run(export_main.Request(*given, fold_batch_norm=False))
    assert written == [model.count_params() for model in files[0]]


def test_prediction_sends_every_frame(exported, tmp_path, monkeypatch):
    sent = []
    answer = ExportedStudent.__call__

    def noted(student, frames):
        sent.append(frames.shape[:2])
        return answer(student, frames)

    monkeypatch.setattr(ExportedStudent, "__call__", noted)
    file = tmp_path / "video.mp4"
    reading.write_video(file, _scene(25, 32, 48), 25.0)
    table = io.StringIO()
    request = predict.Request(model=exported, video=str(file), every_s=0.3)
    predict.run(request, table)
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    # Windows end at 0.4, 0.7 and 1.0 s; each has 0.4 s * 25 frames.
    assert sent == [(3, 10)]
    assert [row["time_s"] for row in rows[::2]] == ["0.400", "0.700", "1.000"]


def test_a_stream_is_sent_whole_windows(exported):
    sent = []

    def student(clips):
        sent.append(clips.shape[1])
        return np.full((len(clips), 2), 0.5)

    spec = dataclasses.replace(_RGB, every_frame=True)
    following = live.LiveAnticipations(student, spec, 0.3, lambda _: None, waits=True)
    frames = ((number / 25, frame, frame) for number, frame in enumerate(_scene(25)))
    assert len(list(following.follow(frames))) == 25
    assert sent == [10, 10, 10]


def test_a_window_of_other_seconds_is_refused():
    trained = dataclasses.replace(_RGB, every_frame=True)
    assert Sliding().spec(trained) == Sliding(observed_s=0.4).spec(trained) == trained
    with pytest.raises(ValueError, match="the 0.4 s that they were trained with"):
        Sliding(observed_s=1.0).spec(trained)
    # One without a fixed time takes 25 frames for a second.
    free = dataclasses.replace(trained, observed_s=None)
    for short_clip in ("resample", "loop", "pad_last", "error"):
        clip_format = dataclasses.replace(_RGB.clip_format, short_clip=short_clip)
        given = dataclasses.replace(free, clip_format=clip_format)
        found = Sliding(observed_s=2.0).spec(given).clip_format
        # A frame that is shown twice would be motion that is none.
        assert (found.num_frames, found.short_clip) == (50, "resample")
    longest = Sliding(observed_s=3600.0).spec(free).clip_format
    assert longest.num_frames == anticipation.MOST_FRAMES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("cut", "dry")}, "Class 1 of the RGB student is 'wash', of"),
        ({"lead_time_s": 1.0}, "the same lead_time_s. The RGB student has 0.5"),
        ({"observed_s": None}, "the same observed_s"),
        ({"clip_format": _RGB.clip_format}, "Got one of rgb and one of rgb"),
        (
            {"clip_format": dataclasses.replace(_FLOW.clip_format, fit="stretch")},
            "was trained with --fit=crop, the flow student with --fit=stretch",
        ),
    ],
)
def test_pairs_that_do_not_belong_together_are_refused(files, changes, message):
    rgb, flow = files[0]
    changed = ServedStudent(flow, dataclasses.replace(_FLOW, **changes))
    with pytest.raises(ValueError, match=message):
        TwoStreams(ServedStudent(rgb, _RGB), changed)


@pytest.mark.parametrize(
    ("students", "changes", "message"),
    [
        ("rf", {"fuse_weights": ("1",)}, "two weights of 0 or more"),
        ("rf", {"fuse_weights": ("0", "0")}, "two weights of 0 or more"),
        ("rf", {"fuse_weights": ("1", "nan")}, "two weights of 0 or more"),
        ("rf", {"fuse_weights": ("1", "x")}, "takes two numbers, as 1,1. Got 1,x"),
        ("rf", {"image_size": 16}, "--image_size is of one student"),
        ("rf", {"format": "onnx"}, "--format=onnx takes one student"),
        ("fr", {}, "Got one of flow and one of rgb; swap them"),
        ("rfr", {}, "two as RGB.keras,FLOW.keras. Got"),
        ("r f", {}, "one path begins or ends with a blank"),
        ("r-", {}, "two as RGB.keras,FLOW.keras. Got"),
        ("r", {"fuse_weights": ("1", "1")}, "--fuse_weights is of two students"),
    ],
)
def test_requests_that_make_no_pair_are_refused(
    files, tmp_path, students, changes, message
):
    paths = {"r": files[1][0], "f": files[1][1], "-": "", " ": " "}
    given = ",".join(paths[letter] for letter in students).replace(" ,", " ")
    with pytest.raises(ValueError, match=message):
        export_main.run(export_main.Request(given, str(tmp_path / "out"), **changes))
    assert not list(tmp_path.iterdir())
