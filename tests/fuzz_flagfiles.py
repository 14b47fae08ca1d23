"""Mutates flagfiles: a run's flags are read, and repeat themselves, or are refused.

python -m tests.fuzz_flagfiles --cases=500 --seed=0
"""

import pathlib

from absl import flags

from tests import fuzz_pool, mutations
from train.flags import config as config_lib

_NAME = "run.flags"
_CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"
_VALUES = (
    *("", " ", ",", "=", "-", "--", "---", "#", "//", "\\", "'", '"', "\n", "\r", "\t"),
    *("nan", "inf", "-1", "0", "1e999", "1.5", "9" * 30, "9" * 5000, "true", "None"),
    *("é", "\ufeff", "\0", "\u200b", "\x85", "x" * 100_000, "1,2,3", "a,b", ",,"),
    *("--no", "--seed=1\n", "--seed\n", "--helpful\n", "--undefok=seed\n", "stray\n"),
    *(
        "--flagfile=run.flags\n",
        "--flagfile=/nowhere\n",
        "--flagfile=/\n",
        "--nolr=1\n",
    ),
    *("--flagfile=\n", "--frame_rate=0\n", "--num_frames=0\n", "--observed_s=1e-9\n"),
    *("--weights=x\n", "--flow_layout=9\n", "--students=\n", "--dataset=csv\n"),
)


def write_originals(folder):
    """The flagfiles of the project, and every flag with its default."""
    for path in _CONFIGS.glob("*.flags"):
        (folder / path.name).write_bytes(path.read_bytes())
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(["train.main", "--run_dir=run"])
    text = config_lib.to_flagfile(config_lib.from_flags(values))
    (folder / "every.flags").write_text(text)


def run_case(draws, originals, work):
    """Mutates a flagfile and reads it."""
    text = draws.choice(sorted(originals.iterdir())).read_text()
    for _ in range(draws.choice((1, 1, 2, 4))):
        text = mutations.change_text(text, draws, _VALUES)
    content = mutations.encode_text(text, draws)
    if draws.random() < 0.1:
        content = mutations.change_bytes(content, draws)
    path = work / _NAME
    path.write_bytes(content)
    config, error = fuzz_pool.refusal(lambda: config_lib.from_flagfile(path), path)
    if error is not None:
        return "refused"
    again = work / "again.flags"
    again.write_text(config_lib.to_flagfile(config), encoding="utf-8")
    if config_lib.as_flags(config_lib.from_flagfile(again)) != config_lib.as_flags(
        config
    ):
        raise fuzz_pool.Fault("the flags of the run do not repeat it")
    return "read"


if __name__ == "__main__":
    fuzz_pool.main("tests.fuzz_flagfiles")
