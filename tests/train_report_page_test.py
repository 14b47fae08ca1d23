"""The page about a run: its numbers, its pictures, and what the pointer shows."""

import base64
import dataclasses
import html
import json
import re
import shlex

import keras
import numpy as np
import pytest

from kd_keras import statistics, visualise
from tests import browser, untrained_run
from train import networks
from train import predictions as predictions_lib
from train.finished_run import FinishedRun
from train.report import __main__ as command
from train.report import examples, page, section
from train.written import write_json, write_text

_METHODS = ("labels", "attention")
_HEADINGS = (
    "Scores",
    "Curves",
    "Confusion",
    "Calibration",
    "Gain by class",
    "pseudo-labels",
    "Correspondence",
    "Best clips|Worst clips",
    "Along a video",
    "the time went",
    "Command",
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run whose networks never learned anything."""
    folder = tmp_path_factory.mktemp("report")
    return untrained_run.write(folder, folder / "run <1> v1.2", _METHODS)


@pytest.fixture(scope="module")
def written(run_dir):
    asked = command.Request(output=str(run_dir.parent / "out" / "report.html"))
    return command.run([str(run_dir)], asked, "python -m train.report")


def test_the_page_needs_no_other_file_and_misses_nothing(written):
    text = written.read_text(encoding="utf-8")
    assert 'class="note"' not in text
    sources = re.findall(r"(?:src|href)=\"([^\"]+)\"|url\(([^)]+)\)", text)
    for source in {first or second for first, second in sources}:
        assert source.startswith(("data:", "#", "${clip.strip}")), source[:80]
    for heading in _HEADINGS:
        assert re.search(f"<h3>[^<]*({heading})", text), heading
    assert "run &lt;1&gt;" in text and "run <1>" not in text
    # Eight seconds of the teacher, two of them waiting.
    assert re.search(r"<td>teacher</td><td>8\.0</td>\s*<td>25\.0 %</td>", text)


def test_what_the_page_holds_is_of_the_kind_that_it_says(written):
    found = re.findall(
        r"data:([a-z0-9+/]+);base64,([A-Za-z0-9+/=]+)", written.read_text()
    )
    starts = {"image/svg+xml": b"<?xml", "image/jpeg": b"\xff\xd8"}
    assert {kind for kind, _ in found} == set(starts)
    for kind, content in found:
        assert base64.b64decode(content).startswith(starts[kind]), kind


def test_a_correspondence_is_a_png_and_an_mp4_beside_the_page(written):
    names = {path.name for path in written.parent.iterdir()} - {written.name}
    numbers = set(re.findall(r"Evaluated clip (\d+)", written.read_text()))
    stems = [f"run <1> v1.2-correspondence-{number}" for number in numbers]
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "mp4")}


def test_the_attention_on_the_page_is_that_of_the_paper(run_dir, written):
    [values, *_] = _values_on(written)
    run = FinishedRun(run_dir)
    caption = re.search(r"Evaluated clip (\d+)", written.read_text())
    pair = run.data.evaluated[int(caption[1])]
    student, teacher = run.student("attention"), run.teacher()
    [layer] = networks.student_feature_layers(run.config, student)
    tokens = []
    for model, clip in zip(
        (student, teacher), examples.clips_of(run, pair), strict=True
    ):
        reader = keras.Model(model.input, model.get_layer(layer).output)
        features = reader(clip[None].astype("float32") / 127.5 - 1).numpy()
        tokens.append(features.reshape(-1, features.shape[-1]))
    for key, (queries, attended) in {
        "forward": tokens,
        "backward": tokens[::-1],
    }.items():
        for number, query in enumerate(queries):
            powers = [np.exp(query @ v / np.sqrt(len(v))) for v in attended]
            expected = np.array(powers) / sum(powers)
            shares = _row(values[key], number, len(attended)) / 255
            highest = values[f"{key}_highest"][number]
            assert highest == pytest.approx(expected.max(), abs=2e-6)
            np.testing.assert_allclose(shares * highest, expected, atol=highest / 254)


@pytest.mark.parametrize("method", ["attention", "no_teacher"])
def test_the_page_of_one_student_compares_it_with_no_other(tmp_path, method):
    folder = untrained_run.write(tmp_path, tmp_path / "run", (method,))
    text = command.run([str(folder)], command.Request(), "report").read_text()
    assert 'class="note"' not in text
    for heading in _HEADINGS:
        found = re.search(f"<h3>[^<]*({heading})", text)
        assert (found is None) == (heading == "Gain by class"), heading


@pytest.mark.skipif(browser.find() is None, reason="There is no Chromium to look with.")
def test_the_future_lights_up_under_the_pointer(written, tmp_path):
    [values, *_] = _values_on(written)
    with browser.opened(written, tmp_path) as shown:
        figure = "#correspondence-1-1"
        cell = 2
        broken = "[...document.images].filter(i => !i.naturalWidth).map(i => i.alt)"
        assert shown.evaluate(broken) == []
        shown.move_to(f"{figure} .past [data-cell='{cell}']")
        text = shown.evaluate(f"document.querySelector('{figure} output').textContent")
        lights = shown.evaluate(
            f"[...document.querySelectorAll('{figure} .future .cell')].map("
            "e => getComputedStyle(e).backgroundColor)"
        )
        marked = f"document.querySelector('{figure} .strongest').dataset.cell"
        strongest = int(shown.evaluate(marked))
        # A click holds the choice, whatever is under the pointer later.
        shown.move_to(f"{figure} .future [data-cell='1']", press=True)
        held = shown.evaluate(f"document.querySelector('{figure} output').textContent")
        shown.move_to(f"{figure} .past [data-cell='0']")
        again = shown.evaluate(f"document.querySelector('{figure} output').textContent")
        assert shown.errors == []
    count = len(lights)
    row = _row(values["forward"], cell, count)
    darkness = [_opacity(color) for color in lights]
    np.testing.assert_allclose(darkness, 0.7 * (1 - row / 255), atol=5e-3)
    assert strongest == row.argmax() and darkness[strongest] == 0
    highest = values["forward_highest"][cell]
    assert text.startswith("past, ") and f"a weight of {highest:.4f}" in text
    assert f"{highest * count:.1f} times" in text
    assert held == again and held.startswith("future, ")


@pytest.mark.skipif(browser.find() is None, reason="There is no Chromium to look with.")
def test_eight_moments_of_a_clip_stand_in_one_row(written, tmp_path):
    """So many has the map of 16 frames, which is the default."""
    with browser.opened(written, tmp_path) as shown:
        wide = shown.evaluate(
            "(() => { const past = document.querySelector('.past');"
            "const [label, frame] = past.children;"
            "const gap = parseFloat(getComputedStyle(past).columnGap);"
            "return [label.offsetWidth + 8 * (frame.offsetWidth + gap),"
            "past.clientWidth]; })()"
        )
    assert wide[0] <= wide[1]


@pytest.mark.skipif(browser.find() is None, reason="There is no Chromium to look with.")
def test_arrow_keys_choose_a_cell(written, tmp_path):
    [values, *_] = _values_on(written)
    past, (_, rows, columns) = "#correspondence-1-1 .past", values["observed"]["grid"]
    assert rows > 1 and columns > 1
    with browser.opened(written, tmp_path) as shown:

        def chosen_after(*keys):
            for key in keys:
                shown.evaluate(
                    f"document.querySelector('{past}').dispatchEvent("
                    f"new KeyboardEvent('keydown', {{key: '{key}'}}))"
                )
            return int(
                shown.evaluate(f"document.querySelector('{past} .chosen').dataset.cell")
            )

        shown.move_to(f"{past} [data-cell='0']")
        assert chosen_after("ArrowDown") == columns
        assert chosen_after("ArrowRight") == columns + 1
        assert chosen_after("Tab", "ArrowUp") == 1
        assert chosen_after("ArrowLeft", "ArrowLeft") == 0
        # It is held until a click.
        shown.move_to(f"{past} [data-cell='1']")
        assert chosen_after() == 0
        assert not shown.errors


@pytest.mark.skipif(browser.find() is None, reason="There is no Chromium to look with.")
def test_a_narrow_page_scrolls_a_wide_chart_and_nothing_else(tmp_path):
    classes = [f"put the object {number} away" for number in range(30)]
    _without_videos(tmp_path / "run", 0, classes)
    path = command.run([str(tmp_path / "run")], command.Request(), "")
    with browser.opened(path, tmp_path / "profile", size=(600, 900)) as shown:
        shares = shown.evaluate(
            "[...document.querySelectorAll('.chart')].map(e => e.width/e.naturalWidth)"
        )
        assert len(shares) == 4 and min(shares) > 0.64
        page = "document.documentElement.scrollWidth - innerWidth"
        assert shown.evaluate(page) <= 0


def _opacity(color):
    numbers = re.findall(r"[\d.]+", color)
    return float(numbers[3]) if len(numbers) == 4 else 1.0


def _values_on(path):
    found = re.findall(
        r'<script type="application/json">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return [json.loads(text) for text in found]


def _row(text, number, count):
    values = np.frombuffer(base64.b64decode(text), np.uint8)
    return values[number * count : (number + 1) * count].astype(float)


def _without_videos(folder, seed, classes=("<b>", "$5")):
    """A run of which there are predictions, and no more videos nor networks."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    labels = np.tile([0, 1], 20)
    labels[2 : len(classes)] = np.arange(2, len(classes))
    logits = {
        name: rng.normal(size=(40, len(classes))) + shift * np.eye(len(classes))[labels]
        for name, shift in (
            ("teacher.future", 3.0),
            ("teacher.observed", 0.0),
            ("students.labels", 0.5),
            ("students.attention", 1.5),
        )
    }
    videos = np.repeat([f"v{i}" for i in range(10)], 4)
    found = predictions_lib.Predictions(
        labels, videos, videos, np.zeros((40, 4)), logits
    )
    predictions_lib.write(folder / "predictions.npz", found)
    write_json(folder / "results.json", untrained_run.results(list(classes)))
    write_text(folder / "run.flags", "--dataset=csv\n--annotations=gone.csv\n")
    write_text(folder / "metrics.jsonl", "")
    return found


def test_runs_without_their_videos_are_compared_pair_by_pair(tmp_path):
    runs = [_without_videos(tmp_path / f"run{seed}", seed) for seed in (0, 1)]
    paths = [str(tmp_path / f"run{seed}") for seed in (0, 1)]
    output = command.run(paths, command.Request(), "python -m train.report")
    assert output == tmp_path / "run0" / "report.html"
    text = output.read_text(encoding="utf-8")
    assert "The videos and networks cannot be shown" in text
    assert "<b>" not in text.replace("True: <b>", "") or "&lt;b&gt;" in text
    gains = np.stack(
        [run.hits("students.attention") - run.hits("students.labels") for run in runs]
    )
    expected = statistics.mean_interval(gains, runs[0].videos)
    row = re.search(r"All runs</h2>.*?L_d</td>(.*?)</tr>", text, re.DOTALL)[1]
    numbers = [float(n) for n in re.findall(r"[+-]?\d+\.\d", row)]
    tops = [100 * run.hits("students.attention").mean() for run in runs]
    assert numbers[:2] == pytest.approx(tops, abs=0.051)
    assert numbers[5] == pytest.approx(np.std(tops, ddof=1), abs=0.051)
    bounds = [100 * expected.mean, 100 * expected.low, 100 * expected.high]
    assert numbers[-3:] == pytest.approx(bounds, abs=0.051)


def test_the_command_of_a_page_repeats_the_run_elsewhere(tmp_path):
    _without_videos(tmp_path / "run", 0)
    asked = command.Request(output=str(tmp_path / "report.html"))
    # The second is copied to a folder that is gone by the time that anyone reads this.
    for path in (str(tmp_path / "run"), f"file://{tmp_path}/run"):
        text = command.run([path], asked, "").read_text(encoding="utf-8")
        shown = re.search(r"<h3>Command</h3>\s*<pre>(.*?)</pre>", text)[1]
        words = shlex.split(html.unescape(shown))
        assert words[:3] == ["python", "-m", "train.main"]
        assert words[3:] == [f"--flagfile={path}/run.flags", "--run_dir=OTHER"]


def test_nothing_is_sure_of_clips_of_one_video(tmp_path):
    found = _without_videos(tmp_path / "run", 0)
    one = np.array(["v0"] * len(found.labels))
    gained = dataclasses.replace(found, videos=one, clusters=one)
    text = []
    for kept in (found, gained):
        predictions_lib.write(tmp_path / "run" / "predictions.npz", kept)
        text.append(
            command.run([str(tmp_path / "run")], command.Request(), "").read_text()
        )
    assert 'class="sure"' in text[0] and "clips are of one video" not in text[0]
    assert 'class="sure"' not in text[1] and "clips are of one video" in text[1]
    assert "of 10 videos or groups" in text[0] and "too narrow" not in text[1]
    assert "nan" not in re.sub('src="[^"]*"', "", text[1])


def test_no_gain_of_several_runs_on_one_video_is_sure(tmp_path):
    folders = [tmp_path / f"run{seed}" for seed in (0, 1)]
    text = []
    for number in (10, 1):
        for seed, folder in enumerate(folders):
            if not folder.exists():
                _without_videos(folder, seed)
            kept = predictions_lib.read(folder / "predictions.npz")
            clusters = kept.clusters if number == 10 else np.full_like(kept.videos, "v")
            kept = dataclasses.replace(kept, clusters=clusters)
            predictions_lib.write(folder / "predictions.npz", kept)
        page_ = command.run([*map(str, folders)], command.Request(), "").read_text()
        text.append(re.search("All runs</h2>.*?</table>", page_, re.DOTALL)[0])
    assert 'class="sure"' in text[0] and "no intervals" not in text[0]
    assert 'class="sure"' not in text[1] and "no intervals" in text[1]


def test_confusion_is_of_all_clips_of_a_class(tmp_path, monkeypatch):
    """Of two clips one is taken for a class that is none of any clip."""
    found = _without_videos(tmp_path / "run", 0, ["a", "b", "never"])
    labels = np.repeat([0, 1], 20)
    said = np.where(np.arange(40) % 2, labels, 2)
    logits = {name: np.eye(3)[said] for name in found.logits}
    kept = dataclasses.replace(found, labels=labels, logits=logits)
    predictions_lib.write(tmp_path / "run" / "predictions.npz", kept)
    drawn = []

    def draw(matrices, classes, path):
        drawn.append((matrices, classes))
        path.touch()

    monkeypatch.setattr(visualise, "confusion", draw)
    text = command.run([str(tmp_path / "run")], command.Request(), "").read_text()
    [(matrices, classes)] = drawn
    assert classes == ["a", "b"] and len(matrices) == 3
    for matrix in matrices.values():
        np.testing.assert_array_equal(matrix, [[0.5, 0], [0, 0.5]])
    # The gains count all predictions.
    assert text.count("Of 3 classes these are the 2 with most clips.") == 2
    assert text.count("Predictions of the others are left out") == 1


def test_a_run_without_metrics_has_a_note_for_curves(tmp_path):
    _without_videos(tmp_path / "run", 0)
    text = command.run([str(tmp_path / "run")], command.Request(), "").read_text()
    assert "The curves cannot be shown" in text and "<h3>Curves</h3>" not in text


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    folders = [tmp_path / name / "runs" / "demo" for name in ("a", "b")]
    for seed, folder in enumerate(folders):
        folder.parent.mkdir(parents=True)
        _without_videos(folder, seed)
    text = command.run([*map(str, folders)], command.Request(), "").read_text()
    for name in ("a/runs/demo", "b/runs/demo"):
        assert f"<h2>{name}</h2>" in text and f"<th>{name}</th>" in text
    twice = [str(folders[0]), f"{folders[0]}/../demo/"]
    with pytest.raises(ValueError, match="A run is given twice.*demo/../demo/"):
        command.run(twice, command.Request(), "")


def test_runs_of_similar_names_have_files_of_their_own():
    assert section.file_stem("a-b/c", 3) != section.file_stem("a/b-c", 3)
    assert section.file_stem("seed-0", 3) == "seed-0-correspondence-3"


def test_runs_of_other_clips_have_no_difference(tmp_path):
    first = _without_videos(tmp_path / "a", 0)
    _without_videos(tmp_path / "b", 1)
    moved = dataclasses.replace(first, times_s=first.times_s + 1)
    predictions_lib.write(tmp_path / "a" / "predictions.npz", moved)
    sections = [section.of_run(tmp_path / name, name, tmp_path) for name in ("a", "b")]
    page.write(tmp_path / "report.html", sections, "")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "They do not evaluate the same clips" in text
    table = re.search("All runs</h2>.*?</table>", text, re.DOTALL)[0]
    assert len(re.findall(r"<td>\d+\.\d</td>", table)) == 2 * 4
    assert len(re.findall("<td>–</td>", table)) == 3 * 4


def test_what_cannot_be_reported_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no finished run.*results.json"):
        command.run([str(tmp_path)], command.Request(), "")
    write_json(tmp_path / "results.json", {"rgb": {}, "runs": {"rgb": "runs/rgb"}})
    with pytest.raises(ValueError, match="adds up other runs.*runs/rgb"):
        command.run([str(tmp_path)], command.Request(), "")
    with pytest.raises(ValueError, match="only read: give --output"):
        command.run(["s3://bucket/run"], command.Request(), "")
    (tmp_path / "results.json").write_text('{"classes": [')
    with pytest.raises(ValueError, match="results.json is damaged.*--task=evaluate"):
        command.run([str(tmp_path)], command.Request(), "")
    path = tmp_path / "predictions.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="damaged.*--task=evaluate"):
        predictions_lib.read(path)
