"""Shards are whole or absent, checked, and the same after any interruption."""

import collections
import json
import shutil
import threading

import pytest
import tensorflow as tf

from kd_keras.data.records import data_set as stored_data_set
from kd_keras.data.records import shard_writer, shards

_SHARD_KEYS = [[("a", k) for k in range(3)], [("b", k) for k in range(2)], [("c", 0)]]
_DISK = collections.namedtuple("usage", "total used free")


def _record(key):
    return (f"{key[0]}{key[1]}" * 50).encode()


def _make(keys):
    return shard_writer.ShardContents((key, _record(key)) for key in keys)


def _write(folder, make=_make, shard_keys=_SHARD_KEYS, **options):
    given = {
        "kind": "test",
        "fingerprint": {"--size": 3, "--name": "x"},
        "rerun_command": "prepare {folder} --verify",
        "expected_bytes": 1000,
        "progress": False,
    }
    return shard_writer.write_shards(folder, shard_keys, make, **(given | options))


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_records_are_read_by_key_and_by_tensorflow(tmp_path):
    records = _write(tmp_path)
    for keys in _SHARD_KEYS:
        for key in keys:
            assert key in records and records.read(key) == _record(key)
    assert len(records) == 6 and ("d", 0) not in records
    paths = sorted(str(path) for path in tmp_path.glob("*.tfrecord"))
    found = [record.numpy() for record in tf.data.TFRecordDataset(paths)]
    assert found == [_record(key) for keys in _SHARD_KEYS for key in keys]


@pytest.fixture
def one_thread(monkeypatch):
    """One shard after the other."""
    monkeypatch.setattr(shard_writer, "num_cores", lambda: 1)


def test_an_interrupted_preparation_ends_as_an_uninterrupted_one(tmp_path, one_thread):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _write(whole)
    made = []

    def stops(keys):
        made.append(keys[0][0])
        if keys[0][0] == "b":
            raise KeyboardInterrupt
        return _make(keys)

    with pytest.raises(KeyboardInterrupt):
        _write(cut, stops)
    assert "a" in made
    with pytest.raises(ValueError, match=r"not finished. Continue it: prepare .*cut"):
        shards.Shards(cut)
    # What a kill leaves besides.
    (cut / ".77-test-00001-of-00003.tfrecord").write_bytes(b"half")
    (cut / "test-00001-of-00003.tfrecord").write_bytes(b"not in any index")
    made.clear()

    def counts(keys):
        made.append(keys[0][0])
        return _make(keys)

    _write(cut, counts)
    assert "a" not in made and "b" in made
    assert _contents(cut) == _contents(whole)


def test_a_finished_folder_is_left_as_it_is(tmp_path):
    _write(tmp_path)
    before = _contents(tmp_path)

    def never(keys):
        raise AssertionError(keys)

    _write(tmp_path, never)
    assert _contents(tmp_path) == before


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_corrupt_shard_is_named_with_the_command_that_mends_it(tmp_path, damage):
    records = _write(tmp_path)
    before = _contents(tmp_path)
    path = tmp_path / "test-00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:15])
    expected = rf"00001-of-00003.tfrecord is .*: prepare {tmp_path} --verify"
    with pytest.raises(shards.CorruptShard, match=expected):
        records.read(("b", 0))
    assert records.read(("a", 0)) == _record(("a", 0))
    ((shard, message),) = records.verify()
    assert shard.name == path.name and f"prepare {tmp_path}" in message
    _write(tmp_path, verify=True)
    assert _contents(tmp_path) == before


def test_other_data_is_refused_with_the_keys_that_differ(tmp_path):
    _write(tmp_path)
    with pytest.raises(shards.StaleRecords, match=r": --size was 3, now 4\. Give"):
        _write(tmp_path, fingerprint={"--size": 4, "--name": "x"})
    with pytest.raises(shards.StaleRecords, match="records was"):
        _write(tmp_path, shard_keys=_SHARD_KEYS[:2])
    with pytest.raises(shards.StaleRecords, match="--name was 'x', now None"):
        shards.Shards(tmp_path, {"--name": None})
    assert len(shards.Shards(tmp_path, {"--name": "x"})) == 6


def test_an_index_of_another_version_is_refused(tmp_path):
    _write(tmp_path)
    path = tmp_path / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"format_version": 99}))
    for use in (_write, shards.Shards):
        with pytest.raises(shards.StaleRecords, match="format_version is 99"):
            use(tmp_path)
    path.write_text("{]")
    with pytest.raises(shards.StaleRecords, match="no index of prepared data"):
        shards.Shards(tmp_path)


def test_nothing_was_prepared(tmp_path):
    with pytest.raises(ValueError, match="holds no index.json"):
        shards.Shards(tmp_path)


def test_a_disk_without_room_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _DISK(10**9, 10**9, 2_000_000))
    with pytest.raises(OSError, match=r"0.005 GB are needed, 0.002 GB are free"):
        _write(tmp_path, expected_bytes=5_000_000)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_keeps_what_is_finished(tmp_path, one_thread, capsys):
    def fills(keys):
        if keys[0][0] == "b":
            raise OSError(28, "No space left on device")
        return _make(keys)

    with pytest.raises(OSError, match=r"is full: about .* needed .* free.* continues"):
        _write(tmp_path, fills)
    assert not list(tmp_path.glob(".*.tfrecord"))
    assert len(list(tmp_path.glob("*.tfrecord"))) in (1, 2)
    _write(tmp_path)
    assert "GB are free" in capsys.readouterr().out


def test_what_a_kill_left_aside_is_removed(tmp_path):
    _write(tmp_path)
    whole = _contents(tmp_path)
    for name in ("test-00000-of-00003.tfrecord", "index.json"):
        (tmp_path / f".0123abcd-{name}").write_bytes(b"half")
    _write(tmp_path)
    assert _contents(tmp_path) == whole


def test_two_preparations_do_not_share_a_folder(tmp_path):
    started, go_on = threading.Event(), threading.Event()

    def waits(keys):
        started.set()
        go_on.wait(10)
        return _make(keys)

    first = threading.Thread(target=_write, args=(tmp_path, waits))
    first.start()
    started.wait(10)
    try:
        with pytest.raises(OSError, match=r"is in use: process \d+ of "):
            _write(tmp_path)
    finally:
        go_on.set()
        first.join()


def test_what_cannot_be_read_is_named(tmp_path):
    def leaves_out(keys):
        made = _make(keys)
        made.left_out["bad.mp4"] = "is empty"
        return made

    assert _write(tmp_path, leaves_out).left_out == {"bad.mp4": "is empty"}
    assert shards.Shards(tmp_path).left_out == {"bad.mp4": "is empty"}


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("made_from"),
        lambda index: index.update(shards=None),
        lambda index: index.update(remake=["prepare"]),
        lambda index: index["shards"][0].pop("checksums"),
        lambda index: index["shards"][0].update(more=1),
        lambda index: index["shards"][0].update(left_out=[]),
        lambda index: index["shards"][0].update(name="../elsewhere.tfrecord"),
        lambda index: index["shards"][0]["keys"].append(["a", {}]),
        lambda index: index["shards"][0]["keys"].__setitem__(0, ["a", {}]),
        lambda index: index["shards"][0]["lengths"].__setitem__(0, 10**30),
        lambda index: index["shards"][0]["lengths"].__setitem__(0, "100"),
        lambda index: index["shards"][0]["lengths"].__setitem__(0, 101),
    ],
)
def test_a_damaged_index_is_named(tmp_path, change):
    _write(tmp_path)
    path = tmp_path / shards.INDEX
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))
    with pytest.raises(
        shards.StaleRecords, match=r"index\.json is no index of prepared"
    ):
        shards.Shards(tmp_path)


def test_the_shard_of_a_damaged_description_is_made_again(tmp_path, one_thread, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _write(whole)

    def stops(keys):
        if keys[0][0] == "b":
            raise KeyboardInterrupt
        return _make(keys)

    with pytest.raises(KeyboardInterrupt):
        _write(cut, stops)
    description = cut / ".test-00000-of-00003.tfrecord.json"
    description.write_bytes(description.read_bytes()[:-9])
    _write(cut)
    assert _contents(cut) == _contents(whole)
    assert f"{description} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"classes": []}', b"\xff", b"1"])
def test_a_damaged_list_of_videos_is_named(tmp_path, content):
    (tmp_path / stored_data_set.FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"data_set\.json is no list of prepared data"):
        stored_data_set.read(tmp_path)
