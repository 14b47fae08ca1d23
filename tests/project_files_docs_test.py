"""README, CONTRIBUTING and docs name only what exists, and stay short."""

import dataclasses
import importlib.util
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from absl import flags

from export import check_command, client, predict
from export import main as export_main
from train import horizon
from train.flags import config as config_lib
from train.flags.preparation import Preparation
from train.report import __main__ as report_main
from train.table import __main__ as table_main

# Not resolved: under Bazel the files stand as links beside this one.
ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/*.md")
    for path in sorted(ROOT.glob(pattern))
}
OURS = "train|export|examples|benchmarks|tests|kd_keras"
# Flags of other programs, and of absl.
_FOREIGN_FLAGS = {"flagfile", "help", "kills", "only", "repeats", "sizes"}
_FOREIGN_FLAGS |= {"gpus", "image", "nodes", "ntasks", "strict"}
_FOREIGN_FLAGS |= {"nworkers", "nthreads", "gres"}

each_page = pytest.mark.parametrize("page", PAGES)


@each_page
def test_pages_are_short(page):
    most = 150 if page == "README.md" else 400
    assert PAGES[page].count("\n") <= most


@each_page
def test_links_lead_somewhere(page):
    for target in _links(PAGES[page]):
        if "://" in target:
            parts = urlsplit(target)
            # No network: the form alone is checked.
            assert parts.scheme == "https" and "." in parts.netloc, target
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            headings = _headings(path.read_text(encoding="utf-8"))
            assert anchor in headings, f"{page} links to {target}"


@each_page
def test_modules_that_are_run_exist(page):
    for module in set(re.findall(rf"python -m ((?:{OURS})\b[\w.]*)", PAGES[page])):
        assert importlib.util.find_spec(module.rstrip(".")), module


@each_page
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    named = re.findall(r"^make ([a-z-]+)\b(?!/)", PAGES[page], re.MULTILINE)
    named += re.findall(r"`make\s([a-z-]+)`", PAGES[page])
    assert {*named} <= targets


@each_page
def test_flagfiles_exist(page):
    for flagfile in re.findall(r"configs/[\w./-]+\.flags", PAGES[page]):
        assert (ROOT / flagfile).exists(), flagfile


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_flags_exist(page):
    values = flags.FlagValues()
    config_lib.define_flags(values)
    config_lib.define_flags(values, groups=(Preparation,))
    commands = (
        check_command.Request,
        client.Request,
        export_main.Request,
        predict.Request,
        horizon.Request,
        report_main.Request,
        table_main.Request,
    )
    known = {*values, *_FOREIGN_FLAGS}
    known.update(f.name for request in commands for f in dataclasses.fields(request))
    named = set(re.findall(r"(?<![\w-])--([a-z]\w*)", PAGES[page]))
    unknown = {n for n in named if n not in known and n.removeprefix("no") not in known}
    assert unknown == set()


def test_the_walk_names_each_file_once_and_what_is_in_it():
    steps = _walk()
    files = [file for file, _ in steps]
    assert len(files) >= 10
    assert len({*files}) == len(files)
    assert files[0].startswith("kd_keras/data/")
    assert files[-1].startswith("kd_keras/losses/")
    for file, names in steps:
        path = ROOT / file
        assert path.is_file(), file
        defined = set(
            re.findall(r"(?:def|class) (\w+)", path.read_text(encoding="utf-8"))
        )
        assert names, f"{file}: the step names no function or class"
        assert names <= defined, file


def test_no_other_file_is_named_in_the_walk():
    files = re.findall(r"[\w/]+\.py\b", _walk_text())
    assert files == [file for file, _ in _walk()]


def _walk_text():
    text = PAGES["CONTRIBUTING.md"]
    return re.search(r"## A newcomer's walk\n(.*?)\n## ", text, re.DOTALL)[1]


def _walk():
    """The (file, names of what is in it) of each step."""
    steps = re.split(r"^\d+\. ", _walk_text(), flags=re.MULTILINE)[1:]
    steps = [step.partition("\n\n")[0] for step in steps]
    return [
        (
            re.match(r"`([\w/]+\.py)`", step)[1],
            # Methods as `Class.method`.
            {
                part
                for name in re.findall(r"`([A-Za-z_][\w.]*)`", step)
                for part in name.split(".")
            },
        )
        for step in steps
    ]


def _links(text):
    """The targets of a page's links and pictures, outside of code."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def _headings(text):
    """The anchors that GitHub and MkDocs give to a page's headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
