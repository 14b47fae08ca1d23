"""Flagfiles are read whatever editor saved them, or refused with their name."""

import pytest

from export import command_line
from train.flags import config as config_lib


def _write(tmp_path, content):
    path = tmp_path / "my.flags"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf--seed=3\n", b"# Caf\xc3\xa9\r\n--seed=3\r\n"]
)
def test_marks_and_line_ends_of_windows_do_not_count(tmp_path, content):
    assert config_lib.from_flagfile(_write(tmp_path, content)).run.seed == 3


@pytest.mark.parametrize(
    "content, reason",
    [
        ("--seed=3\n# café\n".encode("latin-1"), "line 2: not UTF-8 text"),
        ("--seed=3\n".encode("utf-16"), "line 1: not UTF-8 text"),
        (b"--seed=3\n\0", "line 2: holds a zero byte"),
        # absl looks for similar names by recursion.
        (b"--" + b"x" * 5000 + b"\n", "line 1: no flag has a name of 5002 characters"),
        (b"seed=3\n", r"flags begin with --. Got \['seed=3'\]"),
        (b"--lead_time_s=nan\n", "must be a finite number"),
        (b"--lead_time_s=inf\n", "must be a finite number"),
        (b"--frame_rate=1e9\n", "must be at least 0.01 s"),
    ],
)
def test_a_flagfile_that_cannot_be_used_is_named(tmp_path, content, reason):
    path = _write(tmp_path, content)
    with pytest.raises(ValueError, match=reason) as caught:
        config_lib.from_flagfile(path)
    assert str(path) in str(caught.value)


def test_the_command_ends_with_a_sentence(tmp_path):
    path = _write(tmp_path, "--seed=3\n".encode("utf-16"))
    with pytest.raises(SystemExit, match="^python -m x: .*my.flags, line 1: not UTF-8"):
        command_line.parse(["x", f"--flagfile={path}"], "python -m x", required={})


def test_a_missing_flagfile_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.flags is not a file"):
        config_lib.from_flagfile(tmp_path / "none.flags")
