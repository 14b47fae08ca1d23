import csv
import dataclasses
import io
import pathlib
import shutil
import subprocess
import sys
import types

import cv2
import keras
import numpy as np
import pytest

from export import annotation, anticipation, predict, saved_model
from export.student_file import ExportSpec
from kd_keras.data.batches.from_clips import evaluation_batches
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.segments import TEST, Clip, Pair
from kd_keras.data.video import reading
from kd_keras.data.video.info import Video
from tests import numbered_video

CLASSES = ("cut", "öffnen", 'say "hi", wave')
CLIP_FORMAT = ClipFormat(num_frames=8, image_size=16)
SPEC = ExportSpec(CLASSES, CLIP_FORMAT, observed_s=1.0, lead_time_s=0.5)
FRAME_RATE, NUM_FRAMES, HEIGHT, WIDTH = 20.0, 64, 48, 66


def tiny_student(channels=3, seed=0):
    clip = keras.Input((8, 16, 16, channels))
    kernel = keras.initializers.GlorotUniform(seed=seed)
    convolution = keras.layers.Conv3D(
        8, 4, strides=4, activation="relu", kernel_initializer=kernel
    )
    x = convolution(clip)
    x = keras.layers.Flatten()(x)
    # Large weights make the probabilities differ clearly from clip to clip.
    start = keras.initializers.RandomNormal(stddev=0.5, seed=0)
    return keras.Model(clip, keras.layers.Dense(3, kernel_initializer=start)(x))


@pytest.fixture(scope="module")
def student():
    return tiny_student()


@pytest.fixture(scope="module")
def model(student, tmp_path_factory):
    """A served student with an older version beside it that would answer wrongly."""
    output = tmp_path_factory.mktemp("models") / "name"
    saved_model.export_student(tiny_student(seed=1), output, SPEC, version=9)
    saved_model.export_student(student, output, SPEC, version=10)
    return str(output)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A square that wanders over a changing background."""
    file = tmp_path_factory.mktemp("videos") / "video.mp4"
    frames = np.empty((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[:] = (3 * i, 200 - 3 * i, 60)
        cv2.rectangle(frame, (i, 10), (i + 12, 30), (250, 250, 20), cv2.FILLED)
    reading.write_video(file, frames, FRAME_RATE, key_frame_interval=25)
    return str(file)


def table(**changes):
    text = io.StringIO()
    predict.run(predict.Request(**changes), text)
    return list(csv.DictReader(io.StringIO(text.getvalue())))


def as_evaluated(student, video, intervals_s):
    """The student's probabilities, by the way that evaluation takes."""
    file = Video("video", pathlib.Path(video), TEST)
    loader = ClipLoader({"video": file}, CLIP_FORMAT, cache="off")
    pairs = [Pair(Clip("video", *i), Clip("video", *i), None) for i in intervals_s]
    batches = evaluation_batches(pairs, loader, batch_size=1, fields=("observed",))
    logits = np.concatenate([student(batch["observed"]) for batch in batches])
    odds = np.exp(logits.astype(np.float64))
    return odds / odds.sum(axis=1, keepdims=True)


def test_the_table_holds_what_evaluation_would_give(model, student, video):
    rows = table(model=model, video=video, every_s=0.2, top_k=3)
    times_s = [1.0 + 0.2 * i for i in range(12)]
    expected = as_evaluated(student, video, [(t - 1.0, t) for t in times_s])
    assert len(rows) == 3 * len(times_s)
    for i, time_s in enumerate(times_s):
        order = np.argsort(-expected[i])
        for rank, row in enumerate(rows[3 * i : 3 * i + 3]):
            assert float(row["time_s"]) == pytest.approx(time_s)
            assert float(row["happens_s"]) == pytest.approx(time_s + 0.5)
            assert row["rank"] == str(rank + 1)
            assert row["class"] == CLASSES[order[rank]]
            probability = expected[i][order[rank]]
            assert float(row["probability"]) == pytest.approx(probability, abs=1e-4)
    # The test would pass for a constant otherwise.
    assert np.ptp(expected, axis=0).max() > 0.1


def test_one_version_may_be_named(model, video):
    named = table(model=f"{model}/10/", video=video)
    assert named == table(model=model, video=video)
    assert named != table(model=f"{model}/9", video=video)


def test_top_k_ends_with_the_classes(model, video):
    assert len(table(model=model, video=video, every_s=10.0, top_k=1)) == 1
    assert len(table(model=model, video=video, every_s=10.0, top_k=50)) == 3


def test_a_short_video_is_seen_whole_after_its_first_frame(model, student, video):
    duration_s = NUM_FRAMES / FRAME_RATE
    rows = table(model=model, video=video, observed_s=5.0, lead_time_s=2.0)
    expected = as_evaluated(student, video, [(duration_s - 5.0, duration_s)])[0]
    assert [float(row["time_s"]) for row in rows] == [pytest.approx(duration_s)] * 3
    assert [float(row["happens_s"]) for row in rows] == [pytest.approx(5.2)] * 3
    assert float(rows[0]["probability"]) == pytest.approx(expected.max(), abs=1e-4)


def test_unknown_times_are_asked_for_or_left_out(tmp_path, video):
    spec = ExportSpec(CLASSES, CLIP_FORMAT)
    model = saved_model.export_student(tiny_student(), tmp_path, spec)
    with pytest.raises(ValueError, match="give --observed_s"):
        table(model=model, video=video)
    rows = table(model=model, video=video, observed_s=1.0)
    assert {row["happens_s"] for row in rows} == {""}


def test_the_annotated_video_shows_the_ranking(model, video, tmp_path):
    output = tmp_path / "annotated.mp4"
    table(model=model, video=video, output=str(output), every_s=0.5)
    assert [p.name for p in tmp_path.iterdir()] == ["annotated.mp4"]

    before, after = read_all(video), read_all(output)
    # Enlarged until letters can be read.
    assert after.shape[1:3] == tuple(8 * side for side in before.shape[1:3])
    # Nothing but the lower edge changes, and all of that from the first clip on.
    difference = np.abs(after[:, 4::8, 4::8].astype(int) - before)
    assert difference[:, :5].mean() < 4
    assert difference[:, -4:].mean() > 30
    assert difference[25:, 36:42].mean() > 3 * difference[:15, 36:42].mean()


def read_all(file):
    video = Video("video", pathlib.Path(file), TEST)
    info = reading.probe(video)
    return reading.read_frames(video, info, np.arange(len(info.times_s)))


def test_times_are_drawn_from_the_moment_they_are_known():
    found = [
        anticipation.Anticipation(time_s, time_s + 1, ("a",), (p,))
        for time_s, p in ((1.0, 0.2), (2.0, 0.9))
    ]
    blank = [np.full((64, 100, 3), 240, np.uint8)] * 30
    frames = list(annotation.annotated(blank, found, 10.0))
    bars = [
        (frame == annotation.BAR_COLOR).all(axis=2).any(axis=0).sum()
        for frame in frames
    ]
    assert bars[:10] == [0] * 10
    assert bars[10:20] == [round(0.2 * 600)] * 10
    assert bars[20:] == [round(0.9 * 600)] * 10
    # The given frames are not drawn on.
    assert (blank[0] == 240).all()


def test_class_names_in_any_script_are_drawn_apart():
    names = ("открыть", "закрыть", "فتح", "شلام", "pay $5", "打开门", "关门")

    frames = [ranking((96, 400), name) for name in names]
    for number, frame in enumerate(frames):
        assert all((frame != other).any() for other in frames[number + 1 :])


def ranking(size, *names):
    """Of these classes, on a gray frame of (height, width)."""
    probabilities = (0.0,) * len(names)
    found = anticipation.Anticipation(0.0, 1.0, names, probabilities)
    return annotation.drawn(np.full((*size, 3), 90, np.uint8), found)


@pytest.mark.parametrize("size", [(120, 160), (160, 120), (480, 640), (720, 360)])
def test_the_ranking_lies_in_the_frame_and_no_name_is_cut(size):
    names = ["put down " + "the knife " * n for n in range(40)]
    frame = ranking(size, *names)
    assert min(frame.shape[:2]) >= 360 and frame.shape[0] % size[0] == 0
    # No letter reaches an edge: there is gray alone, darkened or not.
    for edge in (frame[:, 0], frame[:, -1], frame[-1]):
        assert set(np.unique(edge)) <= {90, 30}
    changed = ranking(size, *names[:-1], "open")
    rows = np.flatnonzero((frame != changed).any((1, 2)))
    assert 0 < len(rows) < frame.shape[0] / 20


def test_frames_of_a_varying_rate_keep_their_time(monkeypatch):
    info = types.SimpleNamespace(
        times_s=np.array([0.0, 0.1, 0.5, 0.6]), duration_s=0.8, height=4, width=4
    )
    monkeypatch.setattr(reading, "iterate_frames", lambda video, info, shown: shown)
    assert predict._frames_at(None, info, 10.0).tolist() == [0, 1, 1, 1, 1, 2, 3, 3]


def test_a_late_picture_keeps_the_time_of_the_file(model, student, tmp_path):
    path = tmp_path / "late.mp4"
    times_s = 1.52 + np.arange(75) / 25
    numbered_video.write_recording(path, times_s, sound_s=(0, 5), g="10")
    output = tmp_path / "annotated.mp4"
    rows = table(model=model, video=str(path), output=str(output), top_k=1)
    shown_s = [float(row["time_s"]) for row in rows]
    assert shown_s == pytest.approx([2.52, 3.02, 3.52, 4.02, 4.52])
    expected = as_evaluated(student, path, [(s - 1.0, s) for s in shown_s])
    found = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(found, expected.max(axis=1), atol=1e-4)
    frames = read_all(output)
    assert len(frames) == 113
    # Until the picture starts the first one is shown; the ranking hides the rest.
    upper = numbered_video.numbers(np.repeat(frames[:, :160], 2, axis=1))
    assert upper[36] == upper[0]


def test_bad_input_is_named(model, video, tmp_path):
    with pytest.raises(ValueError, match="nothing holds no exported student"):
        table(model=str(tmp_path / "nothing"), video=video)
    with pytest.raises(ValueError, match=r"missing\.mp4 does not exist"):
        table(model=model, video=str(tmp_path / "missing.mp4"))
    # What a disk may hold of a file after its power was cut.
    damaged = shutil.copytree(f"{model}/9", tmp_path / "9")
    (damaged / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match=r"9/saved_model\.pb is damaged"):
        table(model=str(damaged), video=video)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    with pytest.raises(ValueError, match="cannot be read"):
        table(model=model, video=str(broken))
    with pytest.raises(ValueError, match="must end in"):
        table(model=model, video=video, output=str(tmp_path / "out.gif"))
    with pytest.raises(ValueError, match="folder does not exist"):
        table(model=model, video=video, output=str(tmp_path / "no" / "out.mp4"))
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(ValueError, match="--timeline=.* is a folder"):
        table(model=model, video=video, timeline=[str(tmp_path / "t.csv")])
    with pytest.raises(ValueError, match="is the video itself"):
        table(model=model, video=video, output=video)


def test_a_student_of_flow_sees_the_flow_that_evaluation_computes(tmp_path, video):
    student = tiny_student(channels=2)
    flow = dataclasses.replace(CLIP_FORMAT, modality="flow", flow_method="dis")
    spec = dataclasses.replace(SPEC, clip_format=flow)
    model = saved_model.export_student(student, tmp_path, spec)
    rows = table(model=model, video=video, every_s=1.0)
    loader = ClipLoader(
        {"video": Video("video", pathlib.Path(video), TEST)}, spec.clip_format
    )
    ends_s = sorted({float(row["time_s"]) for row in rows})
    pairs = [Pair(Clip("video", t - 1, t), Clip("video", t, t + 1), 0) for t in ends_s]
    batches = evaluation_batches(pairs, loader, batch_size=8, fields=("observed",))
    logits = student.predict(next(iter(batches))["observed"], verbose=0)
    assert np.ptp(logits, axis=0).max() > 0.01
    expected = np.sort(keras.ops.convert_to_numpy(keras.ops.softmax(logits)))[:, ::-1]
    actual = np.reshape([float(row["probability"]) for row in rows], expected.shape)
    np.testing.assert_allclose(actual, expected, atol=2e-4)


def test_a_student_whose_channels_are_not_its_modality_is_refused(tmp_path):
    with pytest.raises(ValueError, match="takes clips of 2 channels, which is not"):
        saved_model.export_student(tiny_student(channels=2), tmp_path, SPEC)


def test_the_command_line(model, video, tmp_path):
    output = tmp_path / "annotated.mp4"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "export.predict", f"--model={model}"),
            *(f"--video={video}", f"--output={output}", "--top_k=1", "--every_s=1"),
        ],
        cwd=pathlib.Path(predict.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, f"Wrote {output}.\n")
    lines = done.stdout.splitlines()
    assert lines[0] == "time_s,happens_s,rank,class,probability"
    assert [line.split(",")[:3] for line in lines[1:]] == [
        [f"{i}.000", f"{i}.500", "1"] for i in (1, 2, 3)
    ]
    assert output.stat().st_size > 0


def test_any_folder_will_do(student, video, tmp_path):
    folder = tmp_path / "lr[1e-3] *?{}%#'$~ ü"
    saved_model.export_and_check(student, folder / "models", SPEC)
    shutil.copy(video, folder / "video[1].mp4")
    asked = {"model": str(folder / "models"), "video": str(folder / "video[1].mp4")}
    found = table(**asked, output=str(folder / "new%d.mp4"))
    saved_model.export_student(student, tmp_path / "plain", SPEC)
    assert found == table(model=str(tmp_path / "plain"), video=video)
    assert (folder / "new%d.mp4").stat().st_size > 0


def test_errors_are_one_line_and_a_status(monkeypatch, capsys, model):
    asked = predict.Request(model=model, video="missing.mp4")
    given = {
        name: types.SimpleNamespace(value=value) for name, value in vars(asked).items()
    }
    monkeypatch.setattr(predict, "FLAGS", given)
    assert predict.main([]) == 1
    assert capsys.readouterr().err.startswith("predict: missing.mp4: ")
