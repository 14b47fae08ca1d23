"""What is written aside has its name when it is whole, and is found if it is not."""

import errno
import os

import pytest

from kd_keras.aside import left_aside, written_aside


def test_what_is_begun_is_found_until_it_has_its_name(tmp_path):
    (tmp_path / ".hidden").write_text("somebody's")
    with written_aside(tmp_path / "a-1.json") as path:
        path.write_text("whole")
        assert left_aside(tmp_path) == [path]
        assert path.suffix == ".json" and not (tmp_path / "a-1.json").exists()
    assert left_aside(tmp_path) == []
    assert (tmp_path / "a-1.json").read_text() == "whole"


def test_what_fails_leaves_nothing_and_keeps_what_was_there(tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(OSError, match="full"), written_aside(tmp_path / "a") as path:
        path.write_text("half")
        raise OSError("full")
    assert (tmp_path / "a").read_text() == "before" and left_aside(tmp_path) == []


def test_a_write_that_fails_without_a_name_gets_one(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with (
        pytest.raises(OSError, match="No space .*/a.keras'$"),
        written_aside(tmp_path / "a.keras"),
    ):
        raise full
    named = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "other")
    with pytest.raises(OSError, match="'other'$"), written_aside(tmp_path / "a.keras"):
        raise named
