"""The export of students of features that another network extracted."""

import json
import pathlib

import numpy as np
import pytest

import kd_keras
from export import main, run_card, student_file, verification
from export.limits import MAX_FRAMES
from export.student_file import ExportSpec
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.feature_loader import FeatureLoader
from kd_keras.data.features import stores
from kd_keras.data.readers.feature_files import read_features
from kd_keras.data.segments import Clip
from tests.served import Served

CLASSES = ("serve", "volley", "smash")
NUM_FRAMES = 6
# Of a time step, by the shape of what a request holds of it.
STEPS = {"vectors": (5,), "maps": (2, 3, 5)}


def _student(step, folder, short_clip="resample"):
    """Writes a student of random weights that says clearly different things."""
    height, width, channels = step if len(step) == 3 else (1, 1, *step)
    clips = FeatureFormat(NUM_FRAMES, height, width, channels, short_clip)
    model = kd_keras.build_backbone(
        "temporal",
        len(CLASSES),
        NUM_FRAMES,
        (height, width),
        width=0.03,
        channels=channels,
    )
    kernel, _ = model.layers[-1].weights[-2:]
    kernel.assign(kernel * 20)
    path = folder / "student.keras"
    student_file.save_student(model, path, ExportSpec(CLASSES, clips, lead_time_s=1.0))
    return model, path


@pytest.fixture(scope="module", params=STEPS)
def exported(request, tmp_path_factory):
    """The shape of a time step, the Keras model, its file and the export."""
    folder = tmp_path_factory.mktemp("features")
    step = STEPS[request.param]
    model, path = _student(step, folder)
    # This checks each signature in a process of its own.
    version = main.run(main.Request(str(path), str(folder / "name")))
    return step, model, path, version


def _features(step, time, batch=2):
    random = np.random.default_rng(time)
    return random.standard_normal((batch, time, *step)).astype(np.float32)


def test_the_signatures_take_features(exported):
    step, *_, version = exported
    card = run_card.read(version)
    inputs = {name: each["inputs"] for name, each in card["signatures"].items()}
    assert inputs.keys() == {"serving_default", "features", "describe"}
    for name in ("serving_default", "features"):
        (said,) = inputs[name].items()
        assert said[0] == "features" and said[1]["shape"] == [-1, -1, *step]
        assert said[1]["dtype"] == "float32"
    sees = "vectors" if step == STEPS["vectors"] else "2 x 3 maps"
    about = pathlib.Path(version, run_card.MODEL_CARD).read_text("utf-8")
    assert f"temporal sees 6 {sees} of features with 5 channels" in about
    assert "goes on with, 1 s before it starts: one of 3 classes." in about
    text = json.dumps(card)
    assert "finite numbers" in text and "image_size" not in text


def test_it_answers_what_the_network_says_of_the_clips_of_training(exported, tmp_path):
    step, model, path, version = exported
    served = Served(version)
    for time in (2, NUM_FRAMES, 15):
        features = _features(step, time)
        (tmp_path / "segments.csv").write_text(
            "video,start,end,label,split\n0,0,1,serve,train\n1,0,1,volley,train\n"
        )
        for number, values in enumerate(features):
            np.save(tmp_path / f"{number}.npy", values)
        # So many time steps a second that the video lasts a second.
        store = stores.open_store(tmp_path)
        index = read_features(tmp_path / "segments.csv", store, float(time))
        spec = student_file.load_spec(path)
        loader = FeatureLoader(index.videos, store, spec.clip_format, index.infos)
        clips = np.stack([loader.load(Clip(name, 0, 1)) for name in "01"])
        logits = model.predict(clips, verbose=0).astype(np.float64)
        expected = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
        found = served.ask("serving_default", features=features)
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
        assert found["lead_time_s"].tolist() == [1.0, 1.0]
        pooled = served.ask("features", features=features)
        np.testing.assert_allclose(
            pooled["pooled"],
            pooled["feature_map"].mean(axis=(1, 2, 3)),
            rtol=1e-4,
            atol=1e-5,
        )


def test_requests_that_cannot_be_answered_say_why(exported):
    step, *_, version = exported
    served, good = Served(version), _features(step, 4)
    shape = rf"features must have the shape \(batch, time, .*{step[-1]}\)"
    served.refuses(shape, "serving_default", features=good[..., :-1])
    served.refuses(shape, "serving_default", features=good[:, 0])
    served.refuses(shape, "serving_default", features=good[:, :0])
    many = np.zeros((1, MAX_FRAMES + 1, *step), np.float32)
    served.refuses("at most 64 clips of 1024 time", "serving_default", features=many)
    bad = np.where(np.arange(good.size).reshape(good.shape) == 7, np.nan, good)
    served.refuses("must be finite", "features", features=bad.astype(np.float32))


def test_a_version_is_checked_again(exported):
    *_, path, version = exported
    lines = []
    verification.verify(version, str(path), lines.append)
    text = "\n".join(lines)
    assert "serving_default: 4 requests answered" in text
    assert "gives the same answers" in text


def test_what_reads_videos_refuses_such_a_student(exported, tmp_path):
    *_, path, version = exported
    from export.exported_student import ExportedStudent

    with pytest.raises(ValueError, match="features of another network.*serving_def"):
        ExportedStudent(version)
    request = main.Request(str(path), str(tmp_path / "other"), image_size=64)
    with pytest.raises(ValueError, match="--image_size is of a student of videos"):
        main.run(request)


def test_a_clip_that_must_be_whole_is(tmp_path):
    _, path = _student(STEPS["vectors"], tmp_path, short_clip="error")
    served = Served(main.run(main.Request(str(path), str(tmp_path / "name"))))
    short = _features(STEPS["vectors"], NUM_FRAMES - 1)
    served.refuses("features must have time of 6", "serving_default", features=short)
