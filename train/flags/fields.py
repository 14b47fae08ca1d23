"""Dataclass fields as flags: default, help, choices and bounds in one place."""

import dataclasses
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

from absl import flags

from kd_keras.data import given_paths

if typing.TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Value = TypeVar("_Value")
# A key of `AFFECTS`, or several.
_Affects: TypeAlias = str | tuple[str, ...] | None

# What changes with the value of a flag. Prepared data and runs that were made with
# another value are refused by it.
AFFECTS = {
    None: "nothing that is kept: a run may go on with another value",
    "run": "the run or the preparation alone",
    "data_set": "annotations or videos, which are compared by their content",
    "pairs": "which clips a run has",
    "clips": "what a clip looks like",
    "views": "how the views of a pair are augmented",
    "features": "what the networks make of a view",
}


def flag(
    default: _Value,
    text: str,
    *,
    affects: _Affects,
    choices: Sequence[str] | None = None,
    lower: float | None = None,
    upper: float | None = None,
    former: str | None = None,
    former_choices: Sequence[tuple[str, str]] = (),
) -> _Value:
    """A field of a dataclass that `define` makes a flag of.

    Args:
        affects: A key of `AFFECTS`, or several.
        former: The name of the flag in the release before, which still works.
        former_choices: (former, new) for each choice that had another name there.
    """
    details = {"choices": choices, "lower": lower, "upper": upper, "former": former}
    return _field(
        default, text, affects, **details, former_choices=dict(former_choices)
    )


def late_flag(
    text: str,
    *,
    affects: _Affects,
    choices: Sequence[str] | None = None,
    lower: float | None = None,
) -> Any:
    """A flag whose default follows from other flags when they are read.

    The field is None before, and its hint is of what it is from then on.
    """
    return _field(None, text, affects, choices=choices, lower=lower)


def number_or_word_flag(
    word: str, default: _Value, text: str, *, affects: _Affects, lower: float
) -> _Value:
    """A flag that is a number, or a word in its place."""
    return _field(default, text, affects, word=word, lower=lower)


def path_flag(default: _Value, text: str, *, affects: _Affects) -> _Value:
    """A flag of a path, or of several: checked when parsed, its `~` expanded."""
    return _field(default, text, affects, is_path=True)


def start_flag(
    published: float,
    scratch: float,
    text: str,
    *,
    affects: _Affects,
    lower: float,
    upper: float,
) -> Any:
    """A `late_flag` whose default depends on whether --weights are given."""
    text += f" By default {published:g} with --weights, {scratch:g} from scratch."
    defaults = {"published": published, "scratch": scratch}
    return _field(None, text, affects, **defaults, lower=lower, upper=upper)


def _field(default: _Value, text: str, affects: _Affects, **details: object) -> _Value:
    affected = affects if isinstance(affects, tuple) else (affects,)
    if not set(affected) <= AFFECTS.keys():
        raise ValueError(f"affects must be of {tuple(AFFECTS)}. Got {affects!r}.")
    shared = {"help": text, "affects": affected, "choices": None, "lower": None}
    metadata = {**shared, "upper": None, **details}
    return dataclasses.field(default=default, metadata=metadata)


def define(field: dataclasses.Field, values: flags.FlagValues) -> None:
    """Defines the flag of a field."""
    name, meta = field.name, field.metadata
    default: Any = field.default
    kind = _kind(field.type)
    if "word" in meta:
        parser = _NumberOrWord(meta["word"], meta["lower"])
        flags.DEFINE(parser, name, default, meta["help"], flag_values=values)
        return
    lower, upper = meta["lower"], meta["upper"]
    if kind is bool:
        flags.DEFINE_bool(name, default, meta["help"], flag_values=values)
    elif kind is int:
        flags.DEFINE_integer(
            name, default, meta["help"], lower, upper, flag_values=values
        )
    elif kind is float:
        flags.DEFINE_float(
            name, default, meta["help"], lower, upper, flag_values=values
        )
        # No bound keeps nan out, and a lower one lets infinity in.
        flags.register_validator(
            name,
            lambda number: number is None or math.isfinite(number),
            "must be a finite number",
            flag_values=values,
        )
    elif kind is tuple:
        text = meta["help"]
        if meta["choices"]:
            text = f"<{'|'.join(meta['choices'])}>,...: {text}"
        flags.DEFINE_list(name, list(map(str, default)), text, flag_values=values)
        if meta["choices"]:
            flags.register_validator(
                name,
                lambda chosen: bool(chosen) and set(chosen) <= set(meta["choices"]),
                f"must be one or more of {', '.join(meta['choices'])}, comma-separated",
                flag_values=values,
            )
        elif element_type(field) in (float, int):
            words = {float: "numbers", int: "whole numbers"}[element_type(field)]
            flags.register_validator(
                name,
                lambda chosen: all(_is_number(c, element_type(field)) for c in chosen),
                f"must be {words}, comma-separated",
                flag_values=values,
            )
    elif meta["choices"]:
        flags.DEFINE_enum(
            name, default, meta["choices"], meta["help"], flag_values=values
        )
    else:
        flags.DEFINE_string(name, default, meta["help"], flag_values=values)
    if is_path(field):
        flags.register_validator(name, _require_usable, flag_values=values)
    if former := meta.get("former"):
        flag = _FormerName(former, values[name], meta["former_choices"])
        flags.DEFINE_flag(flag, values, module_name="former names")


def flagfile_line(name: str, value: object) -> str:
    """Returns how a flagfile gives a flag this value."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"


def is_path(field: dataclasses.Field) -> bool:
    """Returns whether a field is a path, or several."""
    return field.metadata.get("is_path", False)


def is_free(field: dataclasses.Field) -> bool:
    """Returns whether a run may go on with another value of a field."""
    return None in field.metadata["affects"]


def affecting(what: str | None, *groups: "DataclassInstance") -> dict[str, Any]:
    """Returns the values of the flags that affect something, by name.

    Args:
        what: A key of `AFFECTS`.
        groups: Dataclasses of flags, such as the run's `Data`.
    """
    return {
        field.name: getattr(group, field.name)
        for group in groups
        for field in dataclasses.fields(group)
        if what in field.metadata["affects"]
    }


def with_dashes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values under the names that their flags have on the command line."""
    return {f"--{name}": value for name, value in values.items()}


def element_type(field: dataclasses.Field) -> type:
    """Returns the type of the elements of a field such as `tuple[str, ...]`."""
    return typing.get_args(field.type)[0]


class _FormerName(flags.Flag):
    """The name that a flag had in the release before; help does not list it."""

    def __init__(self, name: str, flag: flags.Flag, choices: Mapping[str, str]) -> None:
        self._flag, self._choices = flag, choices
        super().__init__(
            flag.parser,
            flag.serializer,
            name,
            flag.default,
            f"Now --{flag.name}.",
            boolean=flag.boolean,
        )

    def parse(self, argument: str) -> None:
        value = self._choices.get(argument, argument)
        self._flag.parse(value)
        self._flag.using_default_value = False
        self.present += 1
        option = flagfile_line(self._flag.name, self._flag.value)
        print(
            f"--{self.name} is now called --{self._flag.name}: write {option}. The "
            "old name goes with the next release.",
            file=sys.stderr,
        )

    @property
    def value(self) -> Any:
        return self._flag.value

    @value.setter
    def value(self, value: Any) -> None:
        self._flag.value = value

    def _parse_from_default(self, value: Any) -> Any:
        return value


class _NumberOrWord(flags.ArgumentParser):
    """Parses a number of at least `lower`, or the word."""

    def __init__(self, word: str, lower: float) -> None:
        self._word, self._lower = word, lower
        self.syntactic_help = f"a number >= {lower:g}, or {word}"

    def parse(self, argument: str) -> float | str:
        if argument == self._word:
            return argument
        if not _is_number(argument) or float(argument) < self._lower:
            raise ValueError(f"it must be {self.syntactic_help}")
        return float(argument)

    def flag_type(self) -> str:
        return f"number or {self._word}"


def _kind(hint: Any) -> type:
    """Returns the type behind a hint such as `float | None` or `tuple[str, ...]`."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in hint.__args__ if kind is not types.NoneType)
    if typing.get_origin(hint) is Literal:
        return type(typing.get_args(hint)[0])
    return typing.get_origin(hint) or hint


def _require_usable(paths: str | list[str] | None) -> bool:
    for path in paths if isinstance(paths, list) else [paths]:
        if problem := given_paths.problem(path):
            raise flags.ValidationError(f"it {problem}.")
    return True


def _is_number(text: str, kind: type[float] | type[int] = float) -> bool:
    try:
        return math.isfinite(kind(text))
    except ValueError:
        return False
