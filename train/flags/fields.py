"""Dataclass fields as flags: default, help, choices and bounds in one place."""

import dataclasses
import math
import sys
import types
import typing

from absl import flags

from kd_keras.data import given_paths


def flag(
    default, text, choices=None, lower=None, upper=None, former=None, former_choices=()
):
    """A field of a dataclass that `define` makes a flag of.

    Args:
        former: The name of the flag in the release before, which still works.
        former_choices: (former, new) for each choice that had another name there.
    """
    metadata = {"help": text, "choices": choices, "lower": lower, "upper": upper}
    metadata |= {"former": former, "former_choices": dict(former_choices)}
    return dataclasses.field(default=default, metadata=metadata)


def number_or_word_flag(word, default, text, lower):
    """A flag that is a number, or a word in its place."""
    metadata = {"help": text, "choices": None, "lower": lower, "upper": None}
    return dataclasses.field(default=default, metadata={**metadata, "word": word})


def path_flag(default, text):
    """A flag of a path, or of several: checked when parsed, its `~` expanded."""
    metadata = {"help": text, "choices": None, "lower": None, "upper": None}
    return dataclasses.field(default=default, metadata={**metadata, "is_path": True})


def start_flag(published, scratch, text, lower, upper):
    """A flag whose default depends on whether --weights are given."""
    text += f" By default {published:g} with --weights, {scratch:g} from scratch."
    metadata = {"help": text, "choices": None, "lower": lower, "upper": upper}
    metadata |= {"published": published, "scratch": scratch}
    return dataclasses.field(default=None, metadata=metadata)


def define(field, values):
    """Defines the flag of a field."""
    name, default, meta = field.name, field.default, field.metadata
    kind, given = _kind(field.type), {"flag_values": values}
    if "word" in meta:
        parser = _NumberOrWord(meta["word"], meta["lower"])
        flags.DEFINE(parser, name, default, meta["help"], **given)
        return
    bounds = {"lower_bound": meta["lower"], "upper_bound": meta["upper"]}
    if kind is bool:
        flags.DEFINE_bool(name, default, meta["help"], **given)
    elif kind is int:
        flags.DEFINE_integer(name, default, meta["help"], **bounds, **given)
    elif kind is float:
        flags.DEFINE_float(name, default, meta["help"], **bounds, **given)
        # No bound keeps nan out, and a lower one lets infinity in.
        flags.register_validator(
            name,
            lambda number: number is None or math.isfinite(number),
            "must be a finite number",
            **given,
        )
    elif kind is tuple:
        text = meta["help"]
        if meta["choices"]:
            text = f"<{'|'.join(meta['choices'])}>,...: {text}"
        flags.DEFINE_list(name, list(map(str, default)), text, **given)
        if meta["choices"]:
            flags.register_validator(
                name,
                lambda chosen: bool(chosen) and set(chosen) <= set(meta["choices"]),
                f"must be one or more of {', '.join(meta['choices'])}, comma-separated",
                **given,
            )
        elif element_type(field) is float:
            flags.register_validator(
                name,
                lambda chosen: all(map(_is_number, chosen)),
                "must be numbers, comma-separated",
                **given,
            )
    elif meta["choices"]:
        flags.DEFINE_enum(name, default, meta["choices"], meta["help"], **given)
    else:
        flags.DEFINE_string(name, default, meta["help"], **given)
    if is_path(field):
        flags.register_validator(name, _require_usable, **given)
    if former := meta.get("former"):
        flag = _FormerName(former, values[name], meta["former_choices"])
        flags.DEFINE_flag(flag, values, module_name="former names")


def flagfile_line(name, value):
    """Returns how a flagfile gives a flag this value."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"


def is_path(field):
    """Returns whether a field is a path, or several."""
    return field.metadata.get("is_path", False)


def element_type(field):
    """Returns the type of the elements of a field such as `tuple[str, ...]`."""
    return typing.get_args(field.type)[0]


class _FormerName(flags.Flag):
    """The name that a flag had in the release before; help does not list it."""

    def __init__(self, name, flag, choices):
        self._flag, self._choices = flag, choices
        super().__init__(
            flag.parser,
            flag.serializer,
            name,
            flag.default,
            f"Now --{flag.name}.",
            boolean=flag.boolean,
        )

    def parse(self, argument):
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
    def value(self):
        return self._flag.value

    @value.setter
    def value(self, value):
        self._flag.value = value

    def _parse_from_default(self, value):
        return value


class _NumberOrWord(flags.ArgumentParser):
    """Parses a number of at least `lower`, or the word."""

    def __init__(self, word, lower):
        self._word, self._lower = word, lower
        self.syntactic_help = f"a number >= {lower:g}, or {word}"

    def parse(self, argument):
        if argument == self._word:
            return argument
        if not _is_number(argument) or float(argument) < self._lower:
            raise ValueError(f"it must be {self.syntactic_help}")
        return float(argument)

    def flag_type(self):
        return f"number or {self._word}"


def _kind(hint):
    """Returns the type behind a hint such as `float | None` or `tuple[str, ...]`."""
    if isinstance(hint, types.UnionType):
        hint = next(kind for kind in hint.__args__ if kind is not types.NoneType)
    return typing.get_origin(hint) or hint


def _require_usable(paths):
    for path in paths if isinstance(paths, list) else [paths]:
        if problem := given_paths.problem(path):
            raise flags.ValidationError(f"it {problem}.")
    return True


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
