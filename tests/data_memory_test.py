"""How much memory is left: what the system says, and what a container allows."""

import os

import pytest

from kd_keras.data import memory

_MEMINFO = "MemTotal: 24683656 kB\nMemFree: 100 kB\nMemAvailable: 2000 kB\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes what a system says of its memory, and what it allows."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "max", tmp_path / "limit"))

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / name).write_text(text)

    return write


def test_this_machine_has_some_and_no_more_than_all():
    available = memory.available_bytes()
    if available is None:
        pytest.skip("This system does not say how much memory is left.")
    assert 0 < available < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_the_system_says_and_a_container_allows(system):
    assert memory.available_bytes() is None
    system(meminfo="MemTotal: 1 kB\n")
    assert memory.available_bytes() is None
    system(meminfo=_MEMINFO)
    assert memory.available_bytes() == 2_048_000
    system(max="max\n")
    assert memory.available_bytes() == 2_048_000
    system(limit="9223372036854771712\n")
    assert memory.available_bytes() == 2_048_000
    system(max="1000000\n")
    assert memory.available_bytes() == 1_000_000
