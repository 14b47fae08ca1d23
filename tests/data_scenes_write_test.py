"""The generated recordings: what is planned, what is drawn, what lies in the files."""

import collections
import csv
import json

import numpy as np
import pytest

from kd_keras.data.readers import csv_videos
from kd_keras.data.scenes import drawing, write
from kd_keras.data.scenes import plan as scene_plan
from kd_keras.data.scenes.write import write_scenes
from kd_keras.data.segments import TRAIN, VAL
from kd_keras.data.video import reading

SIZE = (48, 36)
ARGUMENTS = {"num_videos": 3, "labeled_fraction": 0.5}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes") / "demo", **ARGUMENTS)


def rows_of(annotations):
    with open(annotations, newline="") as file:
        return list(csv.DictReader(file))


def plan(num_videos=6, num_stops=3, seed=0):
    return scene_plan.plan_recordings(num_videos, num_stops, 4 / 3, seed)


def written_plan():
    """What `write_scenes` plans of the arguments: five actions in square pictures."""
    return scene_plan.plan_recordings(3, 5, 1.0, 0)


def frames_of(recording):
    return np.stack(list(drawing.draw_recording(recording, SIZE, 6.0)))


def test_the_csv_describes_what_was_planned(written):
    rows = rows_of(written)
    assert list(rows[0]) == ["video", "start", "end", "label", "split"]
    stops = [(plan.name, stop) for plan in written_plan() for stop in plan.stops]
    for row, (name, stop) in zip(rows, stops, strict=True):
        assert row["video"] == f"videos/{name}.mp4"
        assert float(row["start"]) == pytest.approx(stop.start_s, abs=6e-4)
        assert float(row["end"]) == pytest.approx(stop.end_s, abs=6e-4)
        assert row["label"] in ("", stop.label)
    parts = [row["split"] for row in rows]
    assert parts == [TRAIN] * 10 + [VAL] * 5
    assert all(row["label"] for row in rows if row["split"] == VAL)


def test_another_fraction_is_evaluated(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "_write_videos", lambda folder, recordings: None)
    rows = rows_of(write_scenes(tmp_path / "demo", 10, val_fraction=0.4))
    assert [row["split"] for row in rows] == [TRAIN] * 30 + [VAL] * 20


def test_the_csv_reader_reads_it(written):
    index = csv_videos.read_csv(written, written.parent)
    assert not index.bad_videos
    assert set(index.classes) <= set(scene_plan.CLASSES)
    for recording in written_plan():
        duration_s = index.durations_s[f"videos/{recording.name}.mp4"]
        assert duration_s == pytest.approx(recording.duration_s, abs=0.1)
        assert recording.stops[-1].end_s < duration_s


def test_the_videos_hold_the_drawn_frames(written):
    recording = written_plan()[1]
    name = f"videos/{recording.name}.mp4"
    index = csv_videos.read_csv(written, written.parent)
    info = reading.probe(index.videos[name])
    np.testing.assert_allclose(np.diff(info.times_s), 1 / 12, atol=1e-3)
    some = range(0, len(info.times_s), 10)
    drawn = np.stack(
        list(drawing.draw_recording(recording, (96, 96), 12.0, only=list(some)))
    )
    read = reading.read_frames(index.videos[name], info, some)
    assert read.shape == drawn.shape == (len(some), 96, 96, 3)
    # The encoder loses color at edges, little elsewhere.
    assert np.abs(read.astype(float) - drawn).mean() < 6


@pytest.mark.parametrize(
    ("fraction", "num_labeled"), [(0.001, 9), (0.25, 34), (0.5, 68), (1.0, 135)]
)
def test_labels_are_spread_evenly_over_the_classes(fraction, num_labeled):
    rows = [{"label": stop.label} for plan in plan(27, 5) for stop in plan.stops]
    unlabeled = write._beyond_budget(rows, fraction, seed=0)
    assert len(rows) - len(unlabeled) == num_labeled
    assert len({id(row) for row in unlabeled}) == len(unlabeled)
    labeled = [row for row in rows if not any(row is other for other in unlabeled)]
    counts = collections.Counter(row["label"] for row in labeled)
    assert set(counts) == set(scene_plan.CLASSES)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_equal_arguments_give_equal_files_and_another_seed_others(written, tmp_path):
    again = write_scenes(tmp_path / "again", **ARGUMENTS)
    assert again.read_bytes() == written.read_bytes()
    other = write_scenes(tmp_path / "other", **ARGUMENTS, seed=1)
    assert other.read_bytes() != written.read_bytes()


def test_frames_depend_on_the_seed_and_the_number_of_the_video_alone():
    few, many = plan(num_videos=2), plan(num_videos=4)
    np.testing.assert_array_equal(frames_of(few[1]), frames_of(many[1]))
    assert not np.array_equal(frames_of(few[0])[:20], frames_of(few[1])[:20])
    assert few[0].stops[0].start_s != plan(2, seed=1)[0].stops[0].start_s


def test_a_part_of_the_frames_is_drawn_as_in_the_whole():
    recording = plan()[0]
    some = drawing.draw_recording(recording, SIZE, 6.0, only=[3, 40])
    np.testing.assert_array_equal(list(some), frames_of(recording)[[3, 40]])


def test_recordings_are_untrimmed_and_their_actions_apart():
    for recording in plan(20, 5):
        last_s = 0.0
        for stop in recording.stops:
            assert last_s < stop.come_s <= stop.grip_s < stop.start_s < stop.end_s
            assert stop.start_s - stop.come_s >= 1.5
            last_s = stop.gone_s
        assert last_s < recording.duration_s


def test_classes_are_balanced_and_the_target_lies_on_the_bench():
    stops = [stop for recording in plan(18, 5) for stop in recording.stops]
    counts = collections.Counter(stop.label for stop in stops)
    assert set(counts) == set(scene_plan.CLASSES)
    assert max(counts.values()) == min(counts.values()) == 10
    for stop in stops:
        assert stop.label == f"{stop.verb} {stop.items[0].kind}"
        kinds = [item.kind for item in stop.items if item.kind != "pebble"]
        assert len(set(kinds)) == len(kinds)


def test_only_the_action_tells_what_is_done():
    # The same stop with another verb: equal until the hand can be seen.
    recording = plan(1, 1)[0]
    stop = recording.stops[0]
    assert stop.verb != "smash"
    import dataclasses

    other = dataclasses.replace(
        recording, stops=(dataclasses.replace(stop, verb="smash"),)
    )
    before, after = frames_of(recording), frames_of(other)
    come, act = int(6 * stop.come_s), int(6 * (stop.start_s + stop.end_s) / 2)
    np.testing.assert_array_equal(before[: come + 1], after[: come + 1])
    assert np.abs(before[act].astype(int) - after[act]).mean() > 5


def test_the_camera_drifts_while_the_action_goes_on():
    for recording in plan(5, 3):
        for stop in recording.stops:
            times_s = np.linspace(stop.come_s, stop.end_s, 20)
            path = drawing._camera_path(recording, times_s)
            assert np.ptp(path, axis=0).max() > 0.01
            # The action stays in view.
            assert np.abs(path - stop.items[0].place).max() < 0.62


def test_complete_scenes_are_used_again_and_others_refused(written):
    changed_s = written.stat().st_mtime_ns
    assert write_scenes(written.parent, **ARGUMENTS) == written
    assert written.stat().st_mtime_ns == changed_s
    with pytest.raises(ValueError, match=r"other arguments.*remove it or name another"):
        write_scenes(written.parent, **ARGUMENTS, seed=5)


def test_a_folder_of_something_else_is_refused_and_an_empty_one_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds no generated scenes"):
        write_scenes(tmp_path, **ARGUMENTS)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert write_scenes(empty, **ARGUMENTS).exists()


def test_an_interruption_leaves_nothing_behind(tmp_path, monkeypatch):
    class Interrupting:
        def add(self, _):
            raise KeyboardInterrupt

    monkeypatch.setattr(write, "progress_bar", lambda *_: Interrupting())
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "demo", **ARGUMENTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("drift", [0.0, 0.1, 0.3])
def test_the_camera_drifts_off_a_stop_as_far_as_is_asked(drift):
    recordings = scene_plan.plan_recordings(20, 5, 1.0, 0, drift)
    # Four moments of each stop; the stops are a view and a half apart.
    places = np.array([recording.camera.reshape(5, 4, 2) for recording in recordings])
    centers = np.stack([1.5 * np.arange(5), np.zeros(5)], axis=-1)[:, None]
    farthest = np.abs(places - centers).max()
    assert 0.95 * drift <= farthest <= drift


def test_keeps_its_arguments(written):
    assert json.loads((written.parent / "scenes.json").read_text()) == {
        "version": 1,
        "num_videos": 3,
        "segments_per_video": 5,
        "labeled_fraction": 0.5,
        "val_fraction": 0.25,
        "camera_drift": 0.1,
        "image_size": [96, 96],
        "frame_rate": 12.0,
        "seed": 0,
    }


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("num_videos", 1, "at least 2 videos"),
        ("labeled_fraction", 0.0, r"`labeled_fraction` must be in \(0, 1\]"),
        ("val_fraction", 1.0, r"`val_fraction` must be in \(0, 1\)"),
        ("camera_drift", 1.5, r"`camera_drift` must be in \[0, 1\]"),
    ],
)
def test_rejects_what_it_cannot_draw(tmp_path, argument, value, message):
    with pytest.raises(ValueError, match=message):
        write_scenes(tmp_path / "demo", **(ARGUMENTS | {argument: value}))
    assert not list(tmp_path.iterdir())
