"""The signatures of an exported student, asked in a Session as TF Serving would."""

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

import kd_keras
from export import saved_model, student_file
from export.limits import MAX_CLIPS, MAX_FRAMES
from export.signatures import ServedStudent
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from tests.served import Served

CLASSES = ("cut", "öffnen", "wash hands", "pour, slowly")
CLIP_FORMAT = ClipFormat(8, 16)
SPEC = ExportSpec(CLASSES, CLIP_FORMAT, lead_time_s=0.5, feature_layer="map")


def tiny_student(channels=3):
    clip = keras.Input((8, 16, 16, channels))
    x = keras.layers.Conv3D(4, 3, strides=4, activation="relu", name="map")(clip)
    x = keras.layers.GlobalAveragePooling3D()(x)
    # Large weights make the probabilities differ clearly from clip to clip.
    start = keras.initializers.RandomNormal(stddev=3.0, seed=0)
    return keras.Model(clip, keras.layers.Dense(4, kernel_initializer=start)(x))


@pytest.fixture(scope="module")
def student():
    return tiny_student()


@pytest.fixture(scope="module")
def served(student, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "name"
    return Served(saved_model.export_student(student, folder, SPEC))


def picture(height=48, width=64, channels=3, seed=0):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height)).reshape(height, width, channels)


def encoded(suffix, rgb):
    """What OpenCV writes of gray, RGB or RGBA levels."""
    if rgb.ndim == 3 and rgb.shape[2] > 2:
        rgb = rgb[..., [2, 1, 0, 3][: rgb.shape[2]]]
    return cv2.imencode(suffix, rgb)[1].tobytes()


def files(*contents):
    """One clip of these files."""
    return np.array([contents], dtype=object)


def read_by_opencv(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


GRAY = picture(channels=1)
RGB = picture()
RGBA = picture(channels=4)
JPEG, PNG = encoded(".jpg", RGB), encoded(".png", RGB)


def test_the_signatures_say_what_they_take_and_give(served):
    def described(infos):
        return {
            name: (
                tf.as_dtype(info.dtype).name,
                [dim.size for dim in info.tensor_shape.dim],
            )
            for name, info in infos.items()
        }

    inputs = {
        name: described(signature.inputs)
        for name, signature in served.signatures.items()
        if not name.startswith("__")
    }
    assert inputs == {
        "serving_default": {"frames": ("uint8", [-1, -1, -1, -1, 3])},
        "encoded_frames": {"encoded_frames": ("string", [-1, -1])},
        "clip": {"clip": ("float32", [-1, 8, 16, 16, 3])},
        "features": {"frames": ("uint8", [-1, -1, -1, -1, 3])},
        "describe": {"clips": ("int32", [-1])},
        "init_state": {"window": ("int32", [-1])},
        "step": {
            "frame": ("uint8", [-1, -1, -1, 3]),
            "state_frames": ("uint8", [-1, -1, 16, 16, 3]),
            "state_seen": ("int32", [-1]),
            "state_window": ("int32", [-1]),
        },
    }
    anticipation = described(served.signatures["serving_default"].outputs)
    assert anticipation["lead_time_s"] == ("float32", [-1])
    for name in ("encoded_frames", "clip"):
        assert described(served.signatures[name].outputs) == anticipation
    state = {
        "state_frames": ("uint8", [-1, -1, 16, 16, 3]),
        "state_seen": ("int32", [-1]),
        "state_window": ("int32", [-1]),
    }
    assert described(served.signatures["init_state"].outputs) == state
    assert described(served.signatures["step"].outputs) == anticipation | state
    assert described(served.signatures["features"].outputs) == {
        "feature_map": ("float32", [-1, 2, 4, 4, 4]),
        "pooled": ("float32", [-1, 4]),
    }
    assert described(served.signatures["describe"].outputs) == {
        "student_json": ("string", [-1])
    }


def test_the_description_is_that_of_the_student_file(served):
    found = served.ask("describe", clips=np.zeros(3, np.int32))["student_json"]
    assert [student_file.from_json(text.decode()) for text in found] == [SPEC] * 3


@pytest.mark.parametrize("shape", [(), (0,), (MAX_CLIPS + 1,), (1, 3)])
def test_more_or_fewer_descriptions_than_a_batch_are_refused(served, shape):
    sentence = (
        rf"clips must have the shape \(batch,\), with a batch of 1 to {MAX_CLIPS}"
    )
    served.refuses(sentence, "describe", clips=np.zeros(shape, np.int32))


@pytest.mark.parametrize(
    "content",
    [
        JPEG,
        PNG,
        encoded(".jpg", GRAY),
        encoded(".png", GRAY),
        encoded(".png", RGBA),
        encoded(".png", RGB.astype(np.uint16) * 257),
        cv2.imencode(".jpg", RGB, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
        cv2.imencode(".jpg", RGB, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes(),
        encoded(".png", RGB[:1, :1]),
        encoded(".jpg", picture(16, 16)),
        # Cameras append previews and padding.
        JPEG + b"more",
        # FF may be repeated before a marker.
        JPEG[:2] + b"\xff\xff" + JPEG[2:],
        # No decoder knows that the picture is another one.
        JPEG[: len(JPEG) // 2] + bytes(20) + JPEG[len(JPEG) // 2 + 20 :],
        JPEG[: len(JPEG) // 2] + b"\xff\xd9",
    ],
)
def test_a_file_is_served_as_what_opencv_decodes(served, content):
    frames = np.stack([read_by_opencv(content)] * 8)[None]
    expected = served.ask("serving_default", frames=frames)
    found = served.ask("encoded_frames", encoded_frames=files(*[content] * 8))
    for name, value in expected.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[name], value, rtol=1e-5)
        else:
            np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("time", [1, 5, 21])
def test_files_are_sampled_in_time_as_frames_are(served, time):
    frames = np.stack(
        [[picture(20, 30, seed=10 * i + j) for j in range(time)] for i in (0, 1)]
    )
    contents = np.array(
        [[encoded(".png", frame) for frame in clip] for clip in frames], object
    )
    np.testing.assert_allclose(
        served.ask("encoded_frames", encoded_frames=contents)["probabilities"],
        served.ask("serving_default", frames=frames)["probabilities"],
        rtol=1e-5,
    )


def test_frames_of_a_clip_may_differ_in_size(served):
    small = cv2.resize(RGB, (32, 24), interpolation=cv2.INTER_AREA)
    contents = files(*[encoded(".png", p) for p in (RGB, small)] * 4)
    assert served.ask("encoded_frames", encoded_frames=contents)["probabilities"].shape


def test_a_clip_is_what_the_network_takes(student, served):
    clips = np.random.default_rng(0).uniform(-1, 1, (3, 8, 16, 16, 3)).astype("f4")
    logits = student(clips, training=False)
    found = served.ask("clip", clip=clips)
    np.testing.assert_allclose(found["probabilities"], tf.nn.softmax(logits), rtol=1e-4)
    assert found["lead_time_s"].tolist() == [0.5] * 3


def test_features_are_the_map_of_the_layer_and_its_mean(student, served):
    frames = np.stack([[picture(16, 16, seed=i) for i in range(8)]] * 2)
    read = keras.Model(student.input, student.get_layer("map").output)
    expected = read(frames / 127.5 - 1, training=False).numpy()
    found = served.ask("features", frames=frames)
    np.testing.assert_allclose(found["feature_map"], expected, rtol=1e-4, atol=1e-5)
    pooled = expected.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found["pooled"], pooled, rtol=1e-4, atol=1e-5)


def test_the_map_is_the_distilled_one_if_none_is_named():
    student = kd_keras.I3D(4, num_frames=16, image_size=32, width=0.125)
    spec = ExportSpec(CLASSES, ClipFormat(16, 32))
    # The deepest with 27 tokens at this size.
    assert ServedStudent(student, spec).feature_layer == "Mixed_3c"
    assert ServedStudent(tiny_student(), ExportSpec(CLASSES, CLIP_FORMAT)).feature_layer
    flat = keras.Input((8, 16, 16, 3))
    student = keras.Model(flat, keras.layers.Dense(4)(keras.layers.Flatten()(flat)))
    assert (
        ServedStudent(student, ExportSpec(CLASSES, CLIP_FORMAT)).feature_layer is None
    )


def patched(content, start, new):
    return content[:start] + new + content[start + len(new) :]


SIZE_OF_JPEG = JPEG.index(b"\xff\xc0") + 5


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"GIF89a" + bytes(90), "no such file"),
        (b"\xff\xd8", "no such file"),
        (b"\xff\xd8" + b"\xff" * 5000, "no such file"),
        (JPEG[:40], "no such file"),
        (PNG[:20], "no such file"),
        (JPEG[2:], "no such file"),
        (patched(JPEG, SIZE_OF_JPEG, bytes(2)), "no such file"),
        (patched(PNG, 16, b"\xff\xff\xff\xff"), "no such file"),
        (JPEG[: len(JPEG) // 2], "cut short"),
        (JPEG[:-2], "cut short"),
        (PNG[: len(PNG) // 2], "cut short"),
        # A few hundred bytes that would unpack to 10 GB, and to 4,611 PB.
        (patched(JPEG, SIZE_OF_JPEG, b"\xea\x60\xea\x60"), "8192 x 4096.*Larger"),
        (patched(PNG, 16, b"\x7f\xff\xff\xff" * 2), "8192 x 4096.*Larger"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_clip_and_frame(served, content, sentence):
    contents = np.array([[JPEG] * 8, [JPEG] * 8], dtype=object)
    contents[1, 3] = content
    numbers = r"[\s\S]*\[\[1 3\]\]"
    served.refuses(sentence + numbers, "encoded_frames", encoded_frames=contents)


def test_damage_inside_of_a_file_is_an_error_of_that_request_alone(served):
    broken = patched(PNG, len(PNG) // 2, bytes(20))
    served.refuses("PNG", "encoded_frames", encoded_frames=files(*[broken] * 8))
    assert served.ask("encoded_frames", encoded_frames=files(JPEG))


def test_clips_of_different_length_are_refused(served):
    contents = np.array([[JPEG] * 24, [JPEG] * 23 + [b""]], dtype=object)
    served.refuses(
        r"same number of frames[\s\S]*\[\[1 23\]\]",
        "encoded_frames",
        encoded_frames=contents,
    )


@pytest.mark.parametrize("shape", [(), (3,), (0, 8), (1, 0), (1, 8, 1)])
def test_other_shapes_of_files_are_refused(served, shape):
    served.refuses(
        r"must have the shape \(batch, time\)",
        "encoded_frames",
        encoded_frames=np.full(shape, JPEG, object),
    )


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 10_000, 1, 1, 3), np.uint8),
        np.zeros((MAX_CLIPS + 1, 1, 1, 1, 3), np.uint8),
        np.zeros((1, 1, 8192, 4097, 3), np.uint8),
    ],
    ids=["frames", "clips", "pixels"],
)
def test_more_than_a_request_may_hold_is_refused(served, frames):
    sentence = rf"at most {MAX_CLIPS} clips of {MAX_FRAMES} frames"
    for name in ("serving_default", "features"):
        served.refuses(sentence, name, frames=frames)
    if frames.shape[2] == 1:
        contents = np.full(frames.shape[:2], PNG, object)
        served.refuses(sentence, "encoded_frames", encoded_frames=contents)


@pytest.mark.parametrize(
    "height, width", [(1, 1), (1, 100_000), (100_000, 1), (4320, 7680)]
)
def test_a_frame_of_any_proportions_is_served(served, height, width):
    frames = np.zeros((1, 1, height, width, 3), np.uint8)
    # Scaled whole, the second would take 4 GB.
    black = served.ask("serving_default", frames=np.zeros((1, 8, 16, 16, 3), np.uint8))
    found = served.ask("serving_default", frames=frames)
    np.testing.assert_allclose(
        found["probabilities"], black["probabilities"], rtol=1e-5
    )


def test_a_clip_of_other_values_or_shape_is_refused(served):
    clip = np.zeros((1, 8, 16, 16, 3), np.float32)
    for value in (np.nan, np.inf, 1.5, -255):
        wrong = clip.copy()
        wrong[0, 7, 15, 15, 2] = value
        served.refuses(r"numbers in \[-1, 1\] and no NaN", "clip", clip=wrong)
    for wrong in (clip[:, :7], clip[0], clip[:0], np.tile(clip, (65, 1, 1, 1, 1))):
        served.refuses(r"shape \(batch, 8, 16, 16, 3\)", "clip", clip=wrong)


def test_a_student_of_flow_takes_u_as_red_and_v_as_green(tmp_path):
    spec = ExportSpec(CLASSES, ClipFormat(8, 16, modality="flow"))
    served = Served(saved_model.export_student(tiny_student(2), tmp_path, spec))
    levels = picture(channels=3)
    found = served.ask("encoded_frames", encoded_frames=files(encoded(".png", levels)))
    expected = served.ask("serving_default", frames=levels[None, None, ..., :2])
    np.testing.assert_allclose(
        found["probabilities"], expected["probabilities"], rtol=1e-5
    )
    # Known by no clip in seconds.
    assert np.isnan(found["lead_time_s"]).all()
