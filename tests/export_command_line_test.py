"""Help and faults of flags, as the commands print them."""

import dataclasses
import subprocess
import sys

import pytest

from train import config, data_flags


def _call(module, *arguments):
    found = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True
    )
    assert "Traceback" not in found.stderr
    return found


@pytest.mark.parametrize("flag", ["--help", "--helpshort", "--helpfull"])
def test_help_lists_every_flag_of_training_under_its_group(flag):
    text = _call("train.main", flag).stdout
    for field in dataclasses.fields(config.Config):
        group = text.partition(f"\n{field.type.__name__}:\n")[2].partition("\n\n")[0]
        for flag_field in dataclasses.fields(field.type):
            assert f"--{flag_field.name}:" in group.replace("[no]", "")


def test_help_has_units_defaults_and_choices():
    text = _call("train.main", "--help").stdout
    assert "--task: <all|teacher|student|evaluate>" in text
    assert "(default: '0.5')" in text and "seconds" in text.lower()


def test_help_of_preparation_begins_with_its_own_flags():
    text = _call("train.prepare", "--help").stdout
    assert text.index("\nPreparation:") < text.index("--kind: ") < text.index("\nRun:")
    assert all(
        f"{field.name}: " in text
        for field in dataclasses.fields(data_flags.Preparation)
    )


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("train.main", "python -m train.main: --run_dir is missing: give the folder"),
        ("train.prepare", "python -m train.prepare: --output is missing: give the fol"),
    ],
)
def test_a_missing_flag_is_named_in_a_sentence(module, said):
    found = _call(module)
    assert found.returncode == 1
    assert found.stderr.startswith(said)


def test_a_misspelt_flag_is_answered_with_the_right_one():
    found = _call("train.main", "--run_dri=x")
    assert found.returncode == 1
    assert "Did you mean: run_dir" in found.stderr


def test_exports_say_what_is_missing_and_nothing_else():
    found = _call("export.main", "--output=x")
    assert found.returncode == 1
    assert found.stderr.splitlines() == [
        "python -m export.main: --student is missing: give the file of a trained "
        "student, RUN_DIR/student.keras.",
        "python -m export.main --help lists the flags.",
    ]
    text = _call("export.predict", "--help").stdout
    assert all(f"--{name}: " in text for name in ("model", "video", "every_s"))
