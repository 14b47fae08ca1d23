"""The console commands of an installation, and where it keeps their packages."""

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import tomllib
from distutils.core import run_setup  # Setuptools brings it.

import pytest

from kd_keras import commands

_ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def packages():
    """The folder of each package that an installation has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_ROOT)
        project = run_setup("setup.py", stop_after="init")
    folders = {}
    for package in project.packages:
        parts = package.split(".")
        for length in range(len(parts), 0, -1):
            home = project.package_dir.get(".".join(parts[:length]))
            if home is not None:
                parts = [home, *parts[length:]]
                break
        folders[package] = "/".join(parts)
    return folders


def test_everything_is_installed_and_only_kd_keras_at_the_top(packages):
    assert {package.split(".")[0] for package in packages} == {"kd_keras"}
    code = {
        path.parent.relative_to(_ROOT).as_posix()
        for package in ("kd_keras", "train", "export")
        for path in (_ROOT / package).rglob("*.py")
    }
    assert set(packages.values()) == code


def test_commands_run_the_mains(packages, tmp_path):
    for package, folder in packages.items():
        target = tmp_path / package.replace(".", "/")
        target.mkdir(parents=True, exist_ok=True)
        for path in (_ROOT / folder).glob("*.py"):
            shutil.copy(path, target)
    code = "from kd_keras.commands import predict; predict()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "python -m export.predict --model" in answer.stdout, answer.stderr


def test_every_console_command_has_its_main():
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name, value in settings["project"]["scripts"].items():
        point = importlib.metadata.EntryPoint(name, value, "console_scripts")
        assert point.module == "kd_keras.commands"
        assert callable(getattr(commands, point.attr))
