import json

import keras
import pytest

from export import student_file
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.video.flow import EPIC_FLOW

CLASSES = ("cut", "öffnen", "wash hands")


def tiny_student(num_classes=3, frames=8, side=16, channels=3):
    clip = keras.Input((frames, side, side, channels))
    x = keras.layers.Conv3D(4, 3, strides=4, activation="relu")(clip)
    x = keras.layers.GlobalAveragePooling3D()(x)
    return keras.Model(clip, keras.layers.Dense(num_classes)(x))


def spec(classes=CLASSES, observed_s=None, lead_time_s=None, **clip_format):
    clip_format = {"num_frames": 8, "image_size": 16} | clip_format
    return ExportSpec(classes, ClipFormat(**clip_format), observed_s, lead_time_s)


def test_what_is_saved_comes_back(tmp_path):
    model, path = tiny_student(), tmp_path / "run" / "student.keras"
    saved = spec(
        observed_s=2.0,
        lead_time_s=0.0,
        fit="stretch",
        short_clip="loop",
        resize_ratio=1.25,
        flow_method="dis",
        flow_encoding=EPIC_FLOW,
    )
    student_file.save_student(model, path, saved)

    assert student_file.load_spec(path) == saved
    loaded = keras.saving.load_model(path)
    for before, after in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert (before == after).all()
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "student.json",
        "student.keras",
    ]


def test_the_sidecar_is_plain_json(tmp_path):
    student_file.save_student(tiny_student(), tmp_path / "s.keras", spec())
    values = json.loads((tmp_path / "s.json").read_text())
    assert values["classes"] == list(CLASSES)
    assert (values["num_frames"], values["image_size"]) == (8, 16)
    assert values["fit"] == "crop"
    # Files of every release name these so.
    assert values["margin"] == pytest.approx(8 / 7)
    assert values["flow_encoding"]["truncates"] is True
    assert values["observed_s"] is None
    # One flat object.
    assert "clip_format" not in values


def test_a_sidecar_of_an_early_release_has_the_defaults(tmp_path):
    (tmp_path / "s.json").write_text(
        '{"classes": ["a"], "num_frames": 8, "image_size": 16, "margin": 1.5}'
    )
    assert student_file.load_spec(tmp_path / "s.keras") == spec(
        ("a",), resize_ratio=1.5
    )


def test_a_failed_save_keeps_the_student_before(tmp_path, monkeypatch):
    path = tmp_path / "student.keras"
    student_file.save_student(tiny_student(), path, spec())
    before = path.read_bytes()
    model = tiny_student()

    def half_written(aside):
        aside.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(model, "save", half_written)
    with pytest.raises(OSError, match="disk full"):
        student_file.save_student(model, path, spec())
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_sidecar_names_the_flag(tmp_path):
    with pytest.raises(ValueError, match=r"student\.json is missing.*--classes=FILE"):
        student_file.load_spec(tmp_path / "student.keras")


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "student.json: Expecting"),
        ("[]", "Expected an object"),
        ('{"classes": ["a"], "num_frames": 8}', "image_size"),
        (
            '{"classes": ["a"], "num_frames": 8, "image_size": 16, "fitt": "crop"}',
            "fitt",
        ),
        ('{"classes": ["a"], "num_frames": "8", "image_size": 16}', "whole"),
        (
            '{"classes": ["a"], "num_frames": 8, "image_size": 16, "margin": "1"}',
            "margin must be a finite number. Got '1'",
        ),
    ],
)
def test_a_broken_sidecar_is_named(tmp_path, text, message):
    (tmp_path / "student.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        student_file.load_spec(tmp_path / "student.keras")


@pytest.mark.parametrize(
    "name, value, kind",
    [
        ("classes", '"abcd"', "a list of names"),
        ("classes", r'["a", "\ud800"]', "a list of names"),
        ("num_frames", "true", "a whole number"),
        ("observed_s", "Infinity", "a finite number"),
        ("lead_time_s", "true", "a finite number"),
        ("modality", "[]", "a text"),
        ("feature_layer", "3", "a text"),
        ("are_actions", '"no"', "true or false"),
        ("flow_encoding", "20", "an object"),
        ("flow_encoding.stride", '{"stride": 1.5}', "a whole number"),
    ],
)
def test_a_sidecar_with_a_value_of_another_kind_is_named(tmp_path, name, value, kind):
    needed = {"classes": '["a"]', "num_frames": "8", "image_size": "16"}
    values = needed | {name.partition(".")[0]: value}
    text = ", ".join(f'"{key}": {each}' for key, each in values.items())
    (tmp_path / "student.json").write_text("{" + text + "}")
    with pytest.raises(ValueError, match=rf"student\.json: {name} must be {kind}"):
        student_file.load_spec(tmp_path / "student.keras")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"classes": ()}, "at least one"),
        ({"classes": ("a", "b", "a")}, r"Repeated: \['a'\]"),
        ({"num_frames": 0}, "num_frames"),
        ({"image_size": 16.0}, "whole"),
        ({"fit": "pad"}, "fit must be one of"),
        ({"short_clip": "drop"}, "short_clip must be one of"),
        ({"resize_ratio": 0.9}, "resize_ratio must be at least 1"),
        ({"observed_s": 0.0}, "observed_s"),
        ({"lead_time_s": -1.0}, "lead_time_s"),
        ({"lead_time_s": float("inf")}, "finite"),
    ],
)
def test_values_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        spec(**changes)


@pytest.mark.parametrize(
    "model, changes, message",
    [
        ({"num_classes": 4}, {}, "3 class names need logits"),
        ({"frames": 9}, {}, "num_frames"),
        ({"side": 20}, {}, "image_size"),
        ({"channels": 48}, {}, "stored features"),
        ({"frames": None, "side": None}, {}, None),
    ],
)
def test_a_spec_must_fit_its_model(model, changes, message):
    if message is None:
        student_file.check_fits(tiny_student(**model), spec(**changes))
        return
    with pytest.raises(ValueError, match=message):
        student_file.check_fits(tiny_student(**model), spec(**changes))


def test_class_names_are_read_by_line(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_bytes("cut\r\nwash hands\n\nöffnen\n".encode())
    assert student_file.read_classes(file) == ("cut", "wash hands", "öffnen")


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_a_class_name(tmp_path, start):
    file = tmp_path / "classes.txt"
    # The second name is encoded as Macs do; the reader of annotations composes it.
    file.write_bytes(start + "öffnen\n schlie\u00dfen\u00a0\ncafe\u0301\n".encode())
    assert student_file.read_classes(file) == ("öffnen", "schließen", "caf\u00e9")


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_class_names_in_another_encoding_are_refused(tmp_path, encoding):
    file = tmp_path / "classes.txt"
    file.write_bytes("cut\nöffnen\n".encode(encoding))
    with pytest.raises(ValueError, match=r"classes.txt, line \d: not UTF-8 text"):
        student_file.read_classes(file)
    with pytest.raises(ValueError, match=r"list of classes .*none is not a file"):
        student_file.read_classes(tmp_path / "none")
