"""Text in any script: fonts that are found, codes where none is, lines on frames."""

import cv2
import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from kd_keras import lettering, visualise

# Of cuneiform: none of matplotlib's fonts shows it.
LETTER = "\U00012000"
WHITE = (255, 255, 255)


@pytest.fixture(autouse=True)
def _no_other_fonts(monkeypatch):
    """The fonts of matplotlib alone, whatever the machine has."""
    manager = font_manager.fontManager
    # Read anew, because the list of an earlier process may lack some.
    own = font_manager.findSystemFonts([f"{matplotlib.get_data_path()}/fonts/ttf"])
    monkeypatch.setattr(manager, "ttflist", [])
    for path in own:
        manager.addfont(path)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)

    def forget():
        for cached in (lettering._families, lettering._fonts, lettering._mask):
            cached.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def font(tmp_path, monkeypatch):
    """A font of one letter, a square that fills its place."""
    pen = TTGlyphPen(None)
    for number, point in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        pen.lineTo(point) if number else pen.moveTo(point)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(LETTER): "square"})
    square = pen.glyph()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": square})
    builder.setupHorizontalMetrics({".notdef": (700, 0), "square": (700, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    path = tmp_path / "square.ttf"
    builder.save(path)
    # Installed since matplotlib made its list of fonts.
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(path)])


def line(text, line_px=40, width=400):
    frame = np.zeros((60, width, 3), np.uint8)
    lettering.write(frame, text, 0, 40, line_px, WHITE)
    return frame


def test_letters_that_come_with_matplotlib_need_no_other_font():
    for text in ("pay $5", "öffnen", "открыть", "άνοιγμα", "فتح الباب", "שלום"):
        assert lettering.families([text]) == ["DejaVu Sans"]
        assert lettering.readable(text) == text


def test_the_font_of_matplotlib_is_found_without_the_list(monkeypatch):
    drawn = line("open")
    lettering._mask.cache_clear()
    manager = font_manager.fontManager
    other = next(e.fname for e in manager.ttflist if e.name == "STIXGeneral")
    monkeypatch.setattr(manager, "ttflist", [])
    manager.addfont(other)
    assert lettering.readable("open") == "open"
    np.testing.assert_array_equal(line("open"), drawn)


def test_a_font_is_found_by_the_letters_that_it_has(font):
    assert lettering.families(["open", LETTER]) == ["DejaVu Sans", "Square"]
    assert lettering.readable(f"open {LETTER}") == f"open {LETTER}"
    # 0.7 of the font's size each way, and the font's size is 0.72 of the line.
    ink = line(LETTER)[..., 0] > 128
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    for found in (len(rows), len(columns)):
        assert abs(found - 0.7 * 0.72 * 40) <= 2
    assert ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95
    assert abs(rows[-1] + 1 - 40) <= 1


def test_what_no_font_shows_is_written_as_a_code(caplog):
    assert lettering.readable(f"open {LETTER}") == r"open \U00012000"
    assert f"No font of this machine shows {LETTER}" in caplog.text
    assert lettering.readable("open\u200b\n") == r"open\u200b\n"
    np.testing.assert_array_equal(line(LETTER), line(r"\U00012000"))


def test_names_that_differ_are_drawn_apart():
    drawn = [line(t) for t in ("open", "Open", "فتح", "حتف", "pay $5", "pay 5")]
    for number, one in enumerate(drawn):
        assert one.any()
        for other in drawn[number + 1 :]:
            assert (one != other).any()


def test_arabic_letters_are_joined():
    joined = line("فتح")[..., 0] > 128
    apart = line("ف ت ح")[..., 0] > 128
    parts = [
        cv2.connectedComponents(ink.astype(np.uint8))[0] for ink in (joined, apart)
    ]
    assert parts[0] < parts[1]


def test_a_line_is_cut_at_the_edges_of_the_frame():
    whole = line("wash hands", width=400)
    np.testing.assert_array_equal(line("wash hands", width=90), whole[:, :90])
    frame = np.full((9, 9, 3), 7, np.uint8)
    for left, baseline in ((0, 2), (9, 4), (20, 40), (0, -40), (0, 60)):
        lettering.write(frame, "wash", left, baseline, 20, WHITE)
    lettering.write(frame, "", 0, 5, 20, WHITE)


def test_long_text_becomes_smaller_and_then_loses_its_end():
    whole_px = lettering.width_px("wash hands", 40)
    assert lettering.fitted("wash hands", 40, whole_px) == ("wash hands", 40)
    text, smaller_px = lettering.fitted("wash hands", 40, whole_px - 1)
    assert text == "wash hands" and 36 <= smaller_px < 40
    text, least_px = lettering.fitted("wash hands", 40, whole_px // 2)
    assert text in ("wash h…", "wash ha…", "wash…") and least_px == 27
    assert lettering.width_px(text, least_px) <= whole_px // 2
    assert lettering.fitted("wash", 40, 0)[0] == ""


def test_the_color_covers_what_was_there():
    frame = np.full((60, 90, 3), 90, np.uint8)
    lettering.write(frame, "\u2588", 5, 45, 40, (250, 10, 20))
    assert (frame == (250, 10, 20)).all(-1).sum() > 100
    assert (frame[0] == 90).all()


def test_text_that_cannot_be_drawn_leaves_the_frame(monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("broken font")

    monkeypatch.setattr(lettering, "_draw", fail)
    assert not line("open").any()
    assert "'open' cannot be drawn: broken font" in caplog.text


def test_pictures_hold_names_in_any_script(tmp_path, font, recwarn):
    names = ["打开门", "फ़", "فتح", "👋", "pay $5", "$", "a\nb", LETTER]
    matrices = {"teacher": np.eye(len(names))}
    visualise.confusion(matrices, names, tmp_path / "confusion.png")
    clips = np.zeros((len(names), 2, 8, 8, 3), np.uint8)
    visualise.contact_sheet(clips, names, tmp_path / "sheet.png")
    assert (tmp_path / "confusion.png").stat().st_size > 0
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
