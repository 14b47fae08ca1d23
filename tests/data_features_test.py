"""Features that others extracted: stores, clips of them, and what is refused."""

import os
import pickle

import numpy as np
import pytest

from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.feature_loader import FeatureLoader
from kd_keras.data.features import stores
from kd_keras.data.readers import feature_files
from kd_keras.data.readers.feature_files import read_features
from kd_keras.data.segments import Clip
from kd_keras.data.video.info import BadVideo

RATE = 4.0
# 20, 12 and 16 time steps of 5 channels; each number says which step it is.
FEATURES = {
    name: (100 * number + np.arange(steps))[:, None] + np.zeros(5, "f4")
    for number, (name, steps) in enumerate({"a": 20, "b": 12, "c": 16}.items())
}
ANNOTATIONS = """video,start,end,label,split
a,0,5,serve,train
b,0,3,smash,train
c,1,4,serve,val
"""


def _write_npy(folder):
    for name, array in FEATURES.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def _write_transposed(folder):
    """100 channels first, and 20 time steps of each."""
    for name in FEATURES:
        np.save(folder / f"{name}.npy", np.zeros((100, 20)))
    return folder


def _write_npz(folder):
    np.savez(folder / "features.npz", **FEATURES)
    return folder / "features.npz"


def _write_table(folder):
    names = np.array([*FEATURES])
    features = np.zeros((3, 20, 5), np.uint16)
    for number, array in enumerate(FEATURES.values()):
        features[number, : len(array)] = 2 * array
    path = folder / "features.npz"
    np.savez(path, features=features, name=names, scale=0.5)
    return path


def _write_lmdb(folder):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(folder)) as database, database.begin(write=True) as file:
        for name, array in FEATURES.items():
            for number, step in enumerate(array, 1):
                # The keys that RULSTM reads: get_name(video, frame) of its data set.
                key = f"{name}_frame_{number:010d}.jpg"
                file.put(key.encode(), step.astype("f4").tobytes())
        file.put(b"aa_frame_0000000001.jpg", np.ones(5, "f4").tobytes())
    return folder


def _read(folder, write, annotations=ANNOTATIONS):
    (folder / "actions.csv").write_text(annotations)
    store = stores.open_store(write(folder))
    return store, read_features(folder / "actions.csv", store, RATE)


@pytest.mark.parametrize("write", [_write_npy, _write_npz, _write_table, _write_lmdb])
def test_every_store_gives_the_steps_of_a_clip(write, tmp_path):
    store, index = _read(tmp_path, write)
    assert [*index.videos] == ["a", "b", "c"]
    assert index.classes == ("serve", "smash")
    assert index.durations_s["a"] == 5.0
    assert index.videos["a"].path.exists()
    loader = FeatureLoader(index.videos, store, FeatureFormat(4, 1, 1, 5), index.infos)
    # Parts of [1, 3) s in quarters of a second: their middles are steps 5, 7, 9, 11.
    clip = loader.load(Clip("a", 1.0, 3.0))
    assert clip.dtype == np.float32 and clip.shape == (4, 1, 1, 5)
    np.testing.assert_array_equal(clip[:, 0, 0, 0], [5, 7, 9, 11])
    # Before the video its first step, as of frames.
    before = loader.load(Clip("c", -1.0, 1.0))
    np.testing.assert_array_equal(before[:, 0, 0, 3], [200, 200, 201, 203])


def test_half_precision_features_are_scaled_in_single_precision(tmp_path):
    features = np.array([[[60000, 0.01], [1000, 3]]], np.float16)
    for scale in (2.0, 1e-5):
        path = tmp_path / f"{scale}.npz"
        np.savez(path, features=features, name=["a"], scale=scale)
        steps = stores.open_store(path).read("a", np.array([0, 1]))
        assert steps.dtype == np.float32
        expected = features[0].astype(np.float64) * scale
        np.testing.assert_allclose(steps, expected, rtol=1e-6)


def test_maps_keep_their_places(tmp_path):
    array = np.arange(6 * 2 * 3 * 4, dtype="f2").reshape(6, 2, 3, 4)
    np.save(tmp_path / "m.npy", array)
    rows = "video,start,end,label,split\nm.npy,0,1.5,serve,train\n"
    (tmp_path / "actions.csv").write_text(rows)
    store = stores.open_store(tmp_path)
    index = read_features(tmp_path / "actions.csv", store, RATE)
    info = index.infos["m.npy"]
    assert (info.height, info.width, info.duration_s) == (2, 3, 1.5)
    loader = FeatureLoader(index.videos, store, FeatureFormat(6, 2, 3, 4), index.infos)
    np.testing.assert_array_equal(loader.load(Clip("m.npy", 0, 1.5)), array)


def test_missing_frames_of_an_lmdb_are_passed_over(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path)) as database, database.begin(write=True) as file:
        for number in (1, 2, 5):
            value = np.full(3, number, "f4").tobytes()
            file.put(f"v_frame_{number:010d}.jpg".encode(), value)
    store = stores.open_store(tmp_path)
    np.testing.assert_allclose(store.times_s("v", 30), [0, 1 / 30, 4 / 30])
    np.testing.assert_array_equal(store.read("v", np.array([2, 0]))[:, 0], [5, 1])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("v_frame_0000000001.jpg", b"123456", "have 6 bytes, which are no float32"),
        ("v_frame_1.jpg", bytes(12), "has no key such as v_frame_0000000001.jpg"),
    ],
)
def test_what_is_no_frame_of_an_lmdb_is_a_bad_video(key, value, message, tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path)) as database, database.begin(write=True) as file:
        file.put(key.encode(), value)
    store = stores.open_store(tmp_path)
    with pytest.raises(BadVideo, match=message):
        stores.probe(store, type("Video", (), {"name": "v"}), RATE)


def test_an_lmdb_is_opened_once_however_often_it_is_asked_for(tmp_path, monkeypatch):
    _write_lmdb(tmp_path)
    monkeypatch.chdir(tmp_path)
    first, second = stores.open_store(tmp_path), stores.open_store(".")
    again = pickle.loads(pickle.dumps(first))
    for store in (second, again):
        np.testing.assert_array_equal(
            store.times_s("a", RATE), first.times_s("a", RATE)
        )


def test_an_lmdb_that_is_cut_off_is_refused(tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path)) as database, database.begin(write=True) as file:
        for number in range(1, 100):
            key = f"v_frame_{number:010d}.jpg"
            file.put(key.encode(), np.zeros(1024, "f4").tobytes())
    data = tmp_path / "data.mdb"
    whole = data.stat().st_size
    os.truncate(data, whole // 2)
    with pytest.raises(ValueError, match=f"is cut off: .* of {whole:,} bytes"):
        stores.open_store(tmp_path)


def test_a_broken_video_is_skipped_by_name(tmp_path):
    def write(folder):
        _write_npy(folder)
        (folder / "b.npy").write_bytes(b"\x93NUMPY not really")
        return folder

    more = ANNOTATIONS.replace("b,0,3,smash,train", "b,0,3,serve,train")
    _, index = _read(tmp_path, write, more)
    assert [*index.videos] == ["a", "c"]
    assert "b.npy is no .npy file" in index.bad_videos["b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 of a zip", "the magic string is not correct"),
        (b"\x93NUMPY\x01\x00\x0a\x00{'descr':\n", "its header is damaged"),
    ],
)
def test_no_damage_of_an_array_ends_the_reading_of_others(content, message, tmp_path):
    def write(folder):
        _write_npy(folder)
        (folder / "c.npy").write_bytes(content)
        return folder

    _, index = _read(tmp_path, write)
    assert message in index.bad_videos["c"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_refused_by_name(save, tmp_path):
    path = tmp_path / "x.npz"
    save(path, **FEATURES)
    whole = path.read_bytes()
    ones = b"\xff" * 8
    for damaged in (whole[:-40], whole[:80] + ones + whole[88:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="x.npz is no .npz file of numbers"):
            stores.open_store(path)
    # The name of another kind of file.
    with path.open("wb") as file:
        np.save(file, FEATURES["a"])
    with pytest.raises(ValueError, match="x.npz is no .npz file of numbers: it is"):
        stores.open_store(path)


def test_a_video_of_another_shape_than_most_is_skipped(tmp_path):
    def write(folder):
        _write_npy(folder)
        # The first of the annotations says nothing about the others.
        np.save(folder / "a.npy", np.zeros((20, 7)))
        np.save(folder / "d.npy", np.zeros((20, 5)))
        return folder

    store, index = _read(tmp_path, write, ANNOTATIONS + "d,0,3,serve,train\n")
    assert [*index.videos] == ["b", "c", "d"]
    assert r"(1, 1, 7)" in index.bad_videos["a"]
    assert "and most videos have (1, 1, 5)" in index.bad_videos["a"]
    assert feature_files.usual_shape(tmp_path / "actions.csv", store) == (1, 1, 5)


def test_a_file_has_one_name(tmp_path):
    twice = ANNOTATIONS + "a.npy,0,3,serve,val\n"
    with pytest.raises(
        ValueError, match=r"has 'a' and 'a.npy', which are both .*a.npy"
    ):
        _read(tmp_path, _write_npy, twice)


@pytest.mark.parametrize(
    ("write", "rate", "warned"),
    [
        (_write_npy, RATE, False),
        (_write_npy, 1.0, True),
        (_write_transposed, RATE, True),
    ],
)
def test_warns_of_features_that_last_too_long(write, rate, warned, tmp_path, caplog):
    (tmp_path / "actions.csv").write_text(ANNOTATIONS)
    read_features(tmp_path / "actions.csv", stores.open_store(write(tmp_path)), rate)
    assert ("no segment reaches the second half" in caplog.text) == warned
    assert ("time steps, which last 20 s at 1 a second" in caplog.text) == (rate == 1)


def test_a_clip_of_too_few_time_steps_names_its_video(tmp_path):
    store, index = _read(tmp_path, _write_npy)
    wanted = FeatureFormat(9, 1, 1, 5, short_clip="error")
    loader = FeatureLoader(index.videos, store, wanted, index.infos)
    with pytest.raises(ValueError, match=r"^a: The clip \[0, 1\) s holds"):
        loader.load(Clip("a", 0, 1))
    assert not loader.bad_videos


def test_what_is_no_clip_of_features_is_refused_by_name(tmp_path):
    store, index = _read(tmp_path, _write_npy)
    loader = FeatureLoader(
        index.videos, store, FeatureFormat(4, 1, 1, 6), index.infos, max_bad_videos=1
    )
    with pytest.raises(BadVideo, match=r"a: a time step has .*5\), others .*6\)"):
        loader.load(Clip("a", 0, 1))
    array = FEATURES["c"].copy()
    array[9] = np.nan
    np.save(tmp_path / "c.npy", array)
    loader = FeatureLoader(
        index.videos, store, FeatureFormat(4, 1, 1, 5), index.infos, max_bad_videos=1
    )
    loader.load(Clip("c", 0, 1))
    with pytest.raises(BadVideo, match="c: some of its features are no finite"):
        loader.load(Clip("c", 2, 3))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("text", np.array(["x"]), "its features are <U1"),
        ("flat", np.zeros((3, 4, 5)), r"must be \(time, channels\) or .*\(4, 5\)"),
        ("empty", np.zeros((0, 5)), "it has no time step"),
    ],
)
def test_other_arrays_are_bad_videos(name, array, message, tmp_path):
    np.save(tmp_path / f"{name}.npy", array)
    store = stores.open_store(tmp_path)
    video = type("Video", (), {"name": name})
    with pytest.raises(BadVideo, match=message):
        stores.probe(store, video, RATE)


def test_says_what_a_root_may_be(tmp_path):
    with pytest.raises(ValueError, match="no features at .*gone.* Expected a folder"):
        stores.open_store(tmp_path / "gone")
    (tmp_path / "x.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="x.npz is no .npz file"):
        stores.open_store(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"name": ["a"]},
            r"`name` of shape \(1,\) and `features` of shape \(3, 2, 5\)",
        ),
        ({"name": [["a"], ["b"], ["c"]]}, r"`name` of shape \(3, 1\)"),
        ({"features": 1.0}, r"`features` of shape \(\); the two belong together"),
        ({"name": ["a", "b", "a"]}, "'a' 2 times in `name`"),
        ({"scale": np.ones(5)}, r"`scale` that is float64 of shape \(5,\); write one"),
        ({"scale": np.nan}, "one finite number"),
        ({"scale": "x"}, "`scale` that is <U1"),
    ],
)
def test_says_what_is_wrong_with_the_names_of_an_npz(arrays, message, tmp_path):
    table = {"features": np.zeros((3, 2, 5)), "name": ["a", "b", "c"]}
    np.savez(tmp_path / "x.npz", **table | arrays)
    with pytest.raises(ValueError, match=f"x.npz has .*{message}"):
        stores.open_store(tmp_path / "x.npz")


def test_names_of_an_npz_may_be_bytes(tmp_path):
    names = np.array([b"a", "ö".encode()])
    np.savez(tmp_path / "x.npz", features=np.arange(20).reshape(2, 2, 5), name=names)
    store = stores.open_store(tmp_path / "x.npz")
    np.testing.assert_array_equal(store.read("ö", np.array([1])), [np.arange(15, 20)])
