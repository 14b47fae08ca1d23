"""What a run is made of: every flag, once, with its unit and bounds.

A dataclass field is a flag: `define_flags` makes the flags from the fields, and
`from_flags` the frozen dataclasses from the flags. Nothing else reads a flag.
"""

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from absl import flags

from export import flagfiles
from kd_keras.data import given_paths, remote
from train.flags import defaults as flag_defaults
from train.flags import fields as flag_fields
from train.flags import learning as learning_flags
from train.flags.data import Augmentation, Data
from train.flags.fields import flag as _flag
from train.flags.fields import path_flag as _path_flag
from train.flags.learning import Distillation, Network, Training

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Group = TypeVar("_Group", bound="DataclassInstance")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is done, where it is kept, and what makes it repeatable."""

    task: str = _flag(
        "all",
        "teacher: train the teacher. student: train the students from the teacher that "
        "the run directory or --teacher holds. evaluate: evaluate the networks that "
        "the run directory holds. all: train, evaluate and export. submit: predict the "
        "test part of EPIC-KITCHENS for its challenge, with --flagfile=RUN/run.flags.",
        affects=None,
        choices=("all", "teacher", "student", "evaluate", "submit"),
    )
    run_dir: str | None = _path_flag(
        None,
        "Folder of the run, local or remote (s3://bucket/folder). The same command "
        "given again continues or reports it. In every path a leading ~ is the home "
        "folder.",
        affects=None,
    )
    teacher: str | None = _path_flag(
        None, "A trained teacher (.keras) to use; none is trained then.", affects="run"
    )
    fuse: tuple[str, ...] = _path_flag(
        (),
        "RUN_RGB,RUN_FLOW: folders of two trained runs that --task=evaluate adds up, "
        "logits to logits, and reports beside each alone. The data is theirs. A path "
        "with a comma goes in double quotes: --fuse='\"a,b\",c'.",
        affects="run",
    )
    fuse_weights: tuple[float, ...] = _flag(
        (1.0, 1.0),
        "What the logits of RUN_RGB and RUN_FLOW are multiplied by.",
        affects="run",
    )
    supervision_levels: tuple[int, ...] = _flag(
        (),
        "PT,TL,TD: what --task=submit says of pretraining, training labels and "
        "training data on the Supervision Levels Scale. By default 0,4,3 without "
        "--weights, 1,4,3 with --weights=imagenet and 2,4,3 with others.",
        affects=None,
    )
    seed: int = _flag(
        0,
        "Seed of weights, order and augmentation.",
        affects="run",
        lower=0,
        # NumPy takes no larger one.
        upper=2**32 - 1,
    )
    deterministic: bool = _flag(
        False,
        "Give the same weights at every repetition on one device; slower.",
        affects="run",
    )
    export: bool = _flag(
        True, "Export the best student for TF Serving at the end.", affects=None
    )
    dtype_policy: str = _flag(
        "float32",
        "Keras policy of the networks; losses and logits are float32 under each.",
        affects="features",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    distribution: str = _flag(
        "none",
        "none: one device. mirrored: all GPUs of this host. multi_worker: the hosts "
        "that TF_CONFIG or SLURM name, each with this command. tpu: a TPU.",
        affects="run",
        choices=("none", "mirrored", "multi_worker", "tpu"),
    )
    logical_devices: int = _flag(
        1,
        "Cut the CPU into so many devices, to try --distribution=mirrored.",
        affects="run",
        lower=1,
    )

    @property
    def folder(self) -> str:
        """--run_dir, which all commands but one require."""
        if self.run_dir is None:
            raise ValueError("Name the folder of the run: --run_dir=DIR.")
        return self.run_dir


@dataclasses.dataclass(frozen=True)
class Config:
    """All of a run."""

    run: Run
    data: Data
    augmentation: Augmentation
    network: Network
    distillation: Distillation
    training: Training

    def affecting(self, what: str | None) -> dict[str, Any]:
        """Returns the values of the flags that affect something, by name.

        Args:
            what: A key of `flag_fields.AFFECTS`.
        """
        return flag_fields.affecting(what, *vars(self).values())


_GROUPS: dict[str, Any] = {
    field.name: field.type for field in dataclasses.fields(Config)
}
_RUN_GROUPS = tuple(_GROUPS.values())
# Their names, under which help lists the flags.
GROUP_NAMES = tuple(group.__name__ for group in _RUN_GROUPS)


def _names(is_one: Callable[[dataclasses.Field], bool]) -> frozenset[str]:
    return frozenset(
        field.name
        for group in _RUN_GROUPS
        for field in dataclasses.fields(group)
        if is_one(field)
    )


# The flags of paths.
PATHS = _names(flag_fields.is_path)
# The flags that may differ when a run goes on: what it shall do, not what it is.
FREE = _names(flag_fields.is_free)


def define_flags(
    values: flags.FlagValues = flags.FLAGS,
    groups: "Sequence[type[DataclassInstance]]" = _RUN_GROUPS,
) -> None:
    """Defines a flag for every field."""
    for group in groups:
        for field in dataclasses.fields(group):
            flag_fields.define(field, values)
            # Help lists flags by group.
            values.register_key_flag_for_module(group.__name__, values[field.name])
    flag_defaults.refuse_contradictions(values)


def from_flags(
    values: flags.FlagValues = flags.FLAGS, changed: Mapping[str, Any] = {}
) -> Config:
    """Returns the `Config` that the parsed flags describe.

    Args:
        values: The parsed flags.
        changed: Values by flag name, which are used instead of the parsed ones.
    """
    groups = {name: read(group, values, changed) for name, group in _GROUPS.items()}
    config = Config(**groups)
    augmentation = flag_defaults.see_as_it_is(config.augmentation, config.data.dataset)
    return dataclasses.replace(config, augmentation=augmentation)


def with_run_dir(config: Config, run_dir: str | os.PathLike) -> Config:
    """Returns the `Config` of the same run in another folder."""
    run = dataclasses.replace(config.run, run_dir=str(run_dir))
    return dataclasses.replace(config, run=run)


def with_absolute_paths(group: _Group) -> _Group:
    """Returns the same flags, with paths that a process in another folder can use."""
    paths = {
        field.name: os.path.abspath(path)
        for field in dataclasses.fields(group)
        if flag_fields.is_path(field)
        and isinstance(path := getattr(group, field.name), str)
        and not remote.is_remote(path)
    }
    return dataclasses.replace(group, **paths)


def from_flagfile(path: str | os.PathLike) -> Config:
    """Returns the `Config` of a run's run.flags.

    Raises:
        ValueError: If there is none, or it has flags that this version does not know.
    """
    try:
        return from_arguments([f"--flagfile={path}"])
    except ValueError as error:
        raise ValueError(f"{path} is no flagfile of a run: {error}") from error


def from_arguments(arguments: Sequence[str]) -> Config:
    """Returns the `Config` of the flags of a command line.

    Raises:
        ValueError: If one of them is wrong or unknown, or is no flag.
    """
    return from_flags(_parsed(arguments))


def given(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns the flags that a command line or its flagfiles give, as `as_flags` does.

    Raises:
        ValueError: As `from_arguments`.
    """
    values = _parsed(arguments)
    found = as_flags(from_flags(values))
    return {name: value for name, value in found.items() if values[name].present}


def _parsed(arguments: Sequence[str]) -> flags.FlagValues:
    values = flags.FlagValues()
    define_flags(values)
    try:
        with flagfiles.readable(["", *arguments]) as readable:
            rest = values(readable)[1:]
    except (flags.Error, ValueError, OSError) as error:
        raise ValueError(str(error)) from error
    if rest:
        raise ValueError(f"flags begin with --. Got {rest!r:.200}.")
    return values


def read(
    group: type[_Group],
    values: flags.FlagValues = flags.FLAGS,
    changed: Mapping[str, Any] = {},
) -> _Group:
    """Returns the dataclass of one group of parsed flags, as `from_flags` does."""

    def parsed(name: str) -> Any:
        return changed.get(name, values[name].value)

    start = "scratch" if parsed("weights") is None else "published"

    def value_of(field: dataclasses.Field) -> Any:
        value = parsed(field.name)
        if value is None:
            return field.metadata.get(start)
        if flag_fields.is_path(field):
            if isinstance(value, list):
                return tuple(map(given_paths.expanded, value))
            return given_paths.expanded(value)
        if isinstance(value, list):
            return tuple(map(flag_fields.element_type(field), value))
        return value

    made = group(**{field.name: value_of(field) for field in dataclasses.fields(group)})
    complete: dict[type, Callable[[Any], Any]] = {
        Data: flag_defaults.complete,
        Training: learning_flags.complete,
    }
    return complete[group](made) if group in complete else made


def to_flagfile(config: Config) -> str:
    """Returns the text of a flagfile that repeats the run."""
    return flagfile_of(as_flags(config))


def flagfile_of(values: Mapping[str, Any]) -> str:
    """Returns the text of a flagfile with these values by name."""
    lines = []
    for name, value in values.items():
        if value is not None:
            text = _as_list(value) if isinstance(value, tuple) else value
            lines.append(flag_fields.flagfile_line(name, text))
    return "\n".join(lines) + "\n"


def _as_list(values: tuple) -> str:
    """What a list flag reads back: a value that holds a comma is quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


def as_of_now(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values by flag, of a run of the release before, as JSON holds them.

    They come under the new names. Flags that the run did not know have their defaults.
    """
    values = dict(values)
    for group in _RUN_GROUPS:
        for field in dataclasses.fields(group):
            if (former := field.metadata.get("former")) in values:
                value = values.pop(former)
                choices = field.metadata["former_choices"]
                values[field.name] = choices.get(value, value)
            default: Any = field.default
            is_tuple = isinstance(default, tuple)
            values.setdefault(field.name, list(default) if is_tuple else default)
    return values


def as_flags(config: Config) -> dict[str, Any]:
    """Returns the value of every flag, by name."""
    return {
        name: value
        for group in dataclasses.asdict(config).values()
        for name, value in group.items()
    }
