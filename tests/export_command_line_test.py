"""Help and faults of flags, as the commands print them."""

import dataclasses
import re
import subprocess
import sys

import pytest

from export import command
from train.flags import config
from train.flags.preparation import Preparation


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
    assert "--task: <all|teacher|student|evaluate|submit>" in text
    assert "(default: '0.5')" in text and "seconds" in text.lower()


def test_help_of_preparation_begins_with_its_own_flags():
    text = _call("train.prepare", "--help").stdout
    assert text.index("\nPreparation:") < text.index("--kind: ") < text.index("\nRun:")
    assert all(f"{field.name}: " in text for field in dataclasses.fields(Preparation))


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


@pytest.mark.parametrize(
    "module",
    [
        *("train.main", "train.prepare"),
        *("export.main", "export.predict", "export.client"),
        "kd_keras.models.convert",
    ],
)
def test_flags_are_answered_before_a_backend_is_imported(module):
    for arguments in (["--help"], ["--lead_tme=1"]):
        command = [sys.executable, "-X", "importtime", "-m", module, *arguments]
        found = subprocess.run(command, capture_output=True, text=True)
        assert re.search(r"\| +absl\.app$", found.stderr, re.MULTILINE)
        assert not re.search(r"\| +(keras|tensorflow)$", found.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("module", "groups"),
    [
        (
            "export.main",
            {
                "Export": ("student", "output", "version", "top_k"),
                "Student without its .json": ("classes", "num_frames", "fit"),
            },
        ),
        (
            "export.predict",
            {
                "Files": ("model", "video", "output", "timeline", "[no]headless"),
                "Anticipation": ("top_k", "every_s", "observed_s", "lead_time_s"),
            },
        ),
    ],
)
def test_help_of_exports_is_grouped(module, groups):
    for flag in ("--help", "--helpshort", "--helpfull"):
        found = _call(module, flag)
        assert (found.returncode, found.stderr) == (0, "")
        for title, names in groups.items():
            group = found.stdout.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
            assert all(f"  --{name}: " in group for name in names)
        assert ("--verbosity: " in found.stdout) == (flag == "--helpfull")


def test_help_names_the_choices_of_lists():
    text = " ".join(_call("train.main", "--help").stdout.split())
    choices = "<no_teacher|labels|pseudo_labels|direct|attention>"
    assert f"--students: {choices},...: Students" in text


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("train.main", ["--run_dir=x", "y"]),
        ("train.prepare", ["--output=x", "y"]),
        # A name with a blank that the shell took apart.
        ("export.predict", ["--model=m", "--video=x", "y"]),
    ],
)
def test_words_that_are_no_flags_are_refused(module, arguments):
    found = _call(module, *arguments)
    assert found.returncode == 1
    assert "need quotes. Got ['y']." in found.stderr


@pytest.mark.parametrize(
    ("module", "flag"),
    [
        ("export.main", "max_accuracy_drop"),
        ("export.predict", "every_s"),
        ("export.predict", "observed_s"),
        ("export.client", "lead_time_s"),
        ("export.client", "timeout_s"),
    ],
)
def test_numbers_that_no_bound_keeps_out_are_refused(module, flag):
    found = _call(module, f"--{flag}=nan")
    assert found.returncode == 1
    assert f"flag --{flag}=nan: must be a finite number" in found.stderr


def test_a_time_that_no_clock_counts_to_is_refused():
    found = _call("export.client", "--timeout_s=1e300")
    assert found.returncode == 1
    assert "flag --timeout_s=1e300: 1e+300 is not a number in the range" in found.stderr


def test_exports_say_what_is_missing_and_nothing_else():
    found = _call("export.main", "--output=x")
    assert found.returncode == 1
    assert found.stderr.splitlines() == [
        "python -m export.main: --student is missing: give the file of a trained "
        "student, RUN_DIR/student.keras.",
        "python -m export.main --help lists the flags.",
    ]


def test_an_error_that_the_user_can_fix_is_one_line(capsys):
    def fails():
        raise FileNotFoundError("clips.csv is missing.")

    assert command.status_of("Error", fails, (ValueError, OSError)) == 1
    assert capsys.readouterr().err == "Error: clips.csv is missing.\n"
    assert command.status_of("Error", list, (ValueError,)) == 0
    with pytest.raises(FileNotFoundError):
        command.status_of("Error", fails, (ValueError,))


def test_an_unexpected_error_in_the_input_ends_the_process():
    # Other threads are at work when the process wants to end.
    code = """
import time
import tensorflow as tf
from export import command

def read(number):
    if number == 9:
        raise RuntimeError("the disk is gone")
    time.sleep(0.05)
    return number

def main(arguments):
    numbers = tf.data.Dataset.range(10**6).map(
        lambda number: tf.numpy_function(read, [number], tf.int64), 4
    )
    batches = iter(numbers.prefetch(8))
    while True:
        next(batches)

command.start(main, "it", {}, ())
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 1
    assert "the disk is gone" in found.stderr and "Traceback" in found.stderr
