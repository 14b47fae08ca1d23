"""Broken files are read right or refused by name; `make test-fuzz` tries thousands."""

import importlib
import os
import random

import pytest

from tests import fuzz_pool, mutations

_FUZZERS = ("fuzz_recordings", "fuzz_tables", "fuzz_flagfiles", "fuzz_records")


@pytest.mark.parametrize("name", _FUZZERS)
def test_a_sample_of_mutated_files(tmp_path, name):
    module = f"tests.{name}"
    importlib.import_module(module).write_originals(tmp_path)
    ways, faults = fuzz_pool.fuzz(
        module, tmp_path, seed=0, cases=range(40), workers=1, shows=False
    )
    assert faults == {}
    # Some are read, some refused, or nothing is tried.
    assert ways.total() == 40 and len(ways) > 1


def write_originals(folder):
    """As a fuzzer; this module stands for one whose cases go wrong."""


def run_case(draws, originals, work):
    """Goes wrong as the file `originals` says."""
    kind = (originals / "kind").read_text()
    if kind == "crash":
        os.abort()
    elif kind == "hang":
        while True:
            pass
    elif kind == "grow":
        return f"grew to {len(b'x' * (fuzz_pool.LIMIT_BYTES + 2**26))}"
    raise {"KeyError": KeyError("x"), "BaseException": SystemExit(0)}[kind]


@pytest.mark.parametrize(
    "kind, way, reason",
    [
        ("crash", "crashed", "status -6"),
        ("hang", "took longer than", "took longer than"),
        ("grow", "took too much", "MiB"),
        ("KeyError", "fault", "KeyError"),
        ("BaseException", "fault", "SystemExit"),
    ],
)
def test_what_goes_wrong_is_reported_by_its_case(
    tmp_path, monkeypatch, kind, way, reason
):
    # A busy machine takes seconds to fill a gibibyte.
    limits_s = {"hang": 1.0, "grow": 60.0}
    monkeypatch.setattr(fuzz_pool, "LIMIT_S", limits_s.get(kind, fuzz_pool.LIMIT_S))
    (tmp_path / "kind").write_text(kind)
    ways, faults = fuzz_pool.fuzz(
        "tests.data_fuzz_test", tmp_path, seed=0, cases=[7], workers=1, shows=False
    )
    assert list(faults) == [7] and reason in faults[7]
    assert next(iter(ways)).startswith(way)


def test_only_errors_that_name_the_file_are_refusals():
    def refuse(error):
        raise error

    found = fuzz_pool.refusal(lambda: refuse(ValueError("a.csv is empty")), "a.csv")
    assert found[0] is None and str(found[1]) == "a.csv is empty"
    assert fuzz_pool.refusal(lambda: 3, "a.csv") == (3, None)
    for error in (ValueError("empty"), UnicodeError("a.csv")):
        with pytest.raises(fuzz_pool.Fault, match="not refused by name"):
            fuzz_pool.refusal(lambda error=error: refuse(error), "a.csv")
    with pytest.raises(KeyError):
        fuzz_pool.refusal(lambda: refuse(KeyError("a.csv")), "a.csv")


def test_a_case_depends_on_seed_and_number_alone():
    content = bytes(range(256)) * 20
    one, other = (
        [mutations.change_bytes(content, random.Random(f"0 {k}")) for k in range(50)]
        for _ in range(2)
    )
    assert one == other and len(set(one)) > 40
