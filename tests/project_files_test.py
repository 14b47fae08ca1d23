"""The files around the code agree with it: BUILD, requirements, flagfiles."""

import ast
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from absl import flags

import kd_keras
from benchmarks import __main__ as benchmarks
from kd_keras.data.records import cluster
from tests import imported_names
from train.flags import config as config_lib

# Not resolved: under Bazel the files stand as links beside this one.
ROOT = Path(__file__).parents[1]
PACKAGES = ("kd_keras", "train", "export", "benchmarks", "examples")
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
)
FLAGFILES = sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*.flags")
)

# The rooms that each room imports from, bottom first. A room is the modules of one
# folder; `kd_keras` stands for its leaves: metrics, console and so on.
ARROWS = {
    "kd_keras": set(),
    "kd_keras.losses": set(),
    "kd_keras.statistics": {"kd_keras"},
    "kd_keras.models": {"kd_keras"},
    "kd_keras.data.video": {"kd_keras"},
    "kd_keras.data": {"kd_keras", "video"},
    "kd_keras.data.features": {"data", "video"},
    "kd_keras.data.scenes": {"kd_keras", "data", "video"},
    "kd_keras.data.clips": {"data", "features", "video"},
    "kd_keras.data.records": {"clips", "data", "video"},
    "kd_keras.data.checks": {"clips", "data", "video"},
    "kd_keras.data.readers": {"checks", "data", "features", "video"},
    "kd_keras.data.batches": {"records", "clips", "data", "video"},
    "kd_keras.training": {"batches"},
    "kd_keras.distill": {
        *("batches", "records", "training", "losses", "models", "kd_keras"),
    },
}
# What the rooms of the command lines must leave alone.
CLOSED = {
    "export": ("train",),
    "train.flags": ("train", "train.loop"),
    "train.loop": ("train",),
}


@pytest.fixture(scope="module")
def build():
    return _read_build(ROOT / "BUILD")


def test_the_tests_that_make_names_are_there():
    text = (ROOT / "Makefile").read_text().replace("\\\n", "")
    (names,) = re.findall(r"^BAZEL_TESTS.*addsuffix _test,(.*?)\)", text, re.MULTILINE)
    (patterns,) = re.findall(r"^BACKEND_TESTS = (.*)", text, re.MULTILINE)
    for pattern in [f"tests/{name}_test.py" for name in names.split()]:
        assert (ROOT / pattern).is_file(), pattern
    for pattern in patterns.split():
        assert list(ROOT.glob(pattern)), pattern


def test_every_module_belongs_to_a_bazel_library(build):
    known = {
        source for rule in build if rule.kind == "py_library" for source in rule.srcs
    }
    assert [module for module in MODULES if module not in known] == []


def test_bazel_depends_on_targets_that_exist(build):
    names = {rule.name for rule in build}
    for rule in build:
        assert {dep.removeprefix(":") for dep in rule.deps} <= names, rule.name


def test_library_parts_depend_on_nothing_of_ours(build):
    parts = {
        rule.name: rule for rule in build if rule.name in ("data", "losses", "models")
    }
    assert len(parts) == 3
    for name, part in parts.items():
        assert part.deps == [":aside"]
        for source in part.srcs:
            imports = re.findall(
                r"^\s*(?:from|import) ((?:kd_keras|train|export)\b[\w.]*)",
                (ROOT / source).read_text(),
                flags=re.MULTILINE,
            )
            known = f"kd_keras.{name}", "kd_keras.aside"
            others = [m for m in imports if not m.startswith(known)]
            assert others == [], source


def test_every_room_of_the_library_has_its_arrows():
    folders = {module.rpartition("/")[0].replace("/", ".") for module in MODULES}
    assert {folder for folder in folders if folder.startswith("kd_keras")} == {*ARROWS}


def test_no_arrow_leads_back_up():
    below = set()
    for room, others in ARROWS.items():
        assert others <= below, room
        below.add(room.rpartition(".")[2])


@pytest.mark.parametrize("room", ARROWS)
def test_rooms_import_along_their_arrows(room):
    imported = {name.rpartition(".")[2] for name in _imported_rooms(room)}
    assert imported - {room.rpartition(".")[2]} == ARROWS[room]


@pytest.mark.parametrize("room", CLOSED)
def test_command_lines_leave_the_rooms_above_them_alone(room):
    imported = _imported_rooms(room)
    assert imported
    assert not imported & {*CLOSED[room]}


def test_requirements_are_pinned_and_have_a_reason():
    above = ""
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            assert re.match(r"[\w-]+(\[\w+\])?==[\w.]+(; |$)", line), (
                f"Not pinned: {line}"
            )
            assert above, f"No comment above: {line}"
        above = line


def test_the_lock_has_the_pins_of_the_requirements():
    locked = _pins("constraints.txt")
    for file in ("requirements.txt", "docs/requirements.txt"):
        missing = _pins(file) - locked
        assert not missing, f"constraints.txt is old, run `make lock`: {missing}"


def test_the_pins_of_the_extras_are_those_of_make_and_of_messages():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = settings["project"]["optional-dependencies"]
    needs = [need for extra in extras.values() for need in extra]
    pins = dict(need.split("==") for need in needs if "==" in need)
    make = re.findall(r"([\w-]+)==([\w.]+)", (ROOT / "Makefile").read_text())
    both = [(name, version) for name, version in make if name in pins]
    assert len(both) == 6 and all(pins[name] == version for name, version in both)
    assert extras["cluster"] == [cluster.PACKAGE]


def test_commits_are_formatted_by_the_pinned_ruff():
    [version] = [pin[1] for pin in _pins("requirements.txt") if pin[0] == "ruff"]
    assert f"rev: v{version}\n" in (ROOT / ".pre-commit-config.yaml").read_text()


def test_static_tools_see_every_public_name():
    stub = ast.parse((ROOT / "kd_keras/__init__.pyi").read_text())
    seen = {
        alias.asname: f"{node.module}.{alias.name}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: f"{home}.{name}" for name, home in kd_keras._HOMES.items()}
    modules = {name: f"kd_keras.{name}" for name in kd_keras._MODULES}
    assert seen == homes | modules


def test_every_benchmark_has_its_turn():
    paths = (ROOT / "benchmarks").glob("*.py")
    commands = {
        path.stem
        for path in paths
        if f"python -m benchmarks.{path.stem}" in path.read_text()
    }
    assert set(benchmarks.BENCHMARKS) == commands


@pytest.mark.skipif(not FLAGFILES, reason="There are no flagfiles yet.")
@pytest.mark.parametrize("flagfile", FLAGFILES)
def test_flagfile_says_what_it_is_and_is_understood(flagfile):
    assert (ROOT / flagfile).read_text().startswith("#")
    values = flags.FlagValues()
    config_lib.define_flags(values)
    rest = values(["train.main", f"--flagfile={ROOT / flagfile}", "--run_dir=run"])
    assert rest == ["train.main"]
    config_lib.from_flags(values)


def test_the_least_keras_is_the_one_that_the_tests_run_on():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [least] = [
        dependency.partition(">=")[2]
        for dependency in settings["project"]["dependencies"]
        if dependency.startswith("keras")
    ]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert f"keras=={least}" in pins


def _pins(file):
    """(name, version) of each pin in a file of requirements."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pins = (re.match(r"([\w-]+)(?:\[\w+\])?==([\w.]+)", line) for line in lines)
    return {(pin[1].lower(), pin[2]) for pin in pins if pin}


def _imported_rooms(room):
    """The folders of the project that the modules of a room import from."""
    found = set()
    for path in (ROOT / room.replace(".", "/")).glob("*.py"):
        names = imported_names.of_file(path)
        ours = [name for name in names if name.split(".")[0] in PACKAGES]
        found.update(map(_room, ours))
    return found


def _room(name):
    """The folder of what a dotted name stands for."""
    while not (ROOT / name.replace(".", "/")).is_dir():
        name = name.rpartition(".")[0]
    return name


def _read_build(path):
    """Runs a BUILD file, which is Python here, and returns its rules as namespaces."""
    rules = []

    def glob(include, exclude=()):
        found = {p for pattern in include for p in path.parent.glob(pattern)}
        left_out = {p for pattern in exclude for p in path.parent.glob(pattern)}
        return sorted(
            p.relative_to(path.parent).as_posix()
            for p in found - left_out
            if p.is_file()
        )

    def rule(kind):
        def record(name, srcs=(), deps=(), **_):
            rules.append(
                SimpleNamespace(kind=kind, name=name, srcs=srcs, deps=list(deps))
            )

        return record

    kinds = ("py_library", "py_binary", "py_test", "filegroup")
    scope = {kind: rule(kind) for kind in kinds}
    scope |= {"glob": glob, "load": lambda *_: None, "package": lambda **_: None}
    exec(path.read_text(), scope)
    return rules
