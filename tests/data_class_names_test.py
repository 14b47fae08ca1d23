"""Which class names mean the same, and how invisible characters are shown."""

import pytest

from kd_keras.data import class_names


@pytest.mark.parametrize(
    "other",
    [
        "Pick Up",
        "PICK UP",
        "pick  up",
        "pick\u00a0up",
        "pick\tup",
        "pick\u3000up",
        " pick up ",
        "pick up\u200b",
        "\ufeffpick up",
        "pi\u00adck up",
        "\u202apick up\u202c",
        "pick\u2060 up",
        "pick up\ufe0f",
        "pick up\u3164",
        "ｐｉｃｋ ｕｐ",
    ],
)
def test_names_that_look_alike_are_found(other):
    assert class_names.alike(["drop", "pick up", other]) == [["pick up", other]]


def test_normalizations_of_one_name_are_found():
    assert class_names.alike(["caf\u00e9", "cafe\u0301"]) == [
        ["caf\u00e9", "cafe\u0301"]
    ]
    assert class_names.alike(["fix", "\ufb01x"]) == [["fix", "\ufb01x"]]
    assert class_names.alike(["STRASSE", "straße"]) == [["STRASSE", "straße"]]


def test_names_that_differ_are_kept_apart():
    names = ["open", "opens", "pick up", "pickup", "pick_up", "开", "開", "é", "e", "$"]
    assert class_names.alike(names) == []
    assert class_names.alike(["open", "open"]) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("open", "'open'"),
        ("open\u200b", r"'open\u200b'"),
        ("\ufeffopen", r"'\ufeffopen'"),
        ("o\u00adpen", r"'o\xadpen'"),
        ("pick\u00a0up", r"'pick\xa0up'"),
        ("pick  up", r"'pick \x20up'"),
        ("open\u202e", r"'open\u202e'"),
        ("cafe\u0301", r"'cafe\u0301'"),
        ("\ufb01x", r"'\ufb01x'"),
        ("a\u3164", r"'a\u3164'"),
        ("küche 开 हिन्दी", "'küche 开 हिन्दी'"),
    ],
)
def test_what_cannot_be_seen_is_escaped(name, shown):
    assert class_names.visible(name) == shown


def test_names_of_empty_cells():
    for name in ("nan", "NaN", "null", "None", "N/A", "<NA>", "nan\u200b", "\u200b"):
        assert class_names.is_empty_cell(name), name
    for name in ("no action", "nanny", "nothing", "0", "-"):
        assert not class_names.is_empty_cell(name), name
