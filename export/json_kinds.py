"""Whether values that were read from JSON are of the kinds that are expected."""

from collections.abc import Mapping
from typing import Any

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text of whole characters",
    list: "a list of names",
    dict: "an object",
}


def require_kinds(values: Mapping[str, Any], examples: Mapping[str, Any]) -> None:
    """Checks each value that has an example, and each value of an object.

    Args:
        examples: A value of the right kind by the name of a field.
    Raises:
        ValueError: If a value is of another kind; names the field.
    """
    for name in values.keys() & examples.keys():
        _require_kind(name, values[name], examples[name])


def _require_kind(name, value, example):
    if not _is_like(value, example):
        raise ValueError(f"{name} must be {_WORDS[type(example)]}. Got {value!r}.")
    if isinstance(example, dict):
        inner = {f"{name}.{key}": each for key, each in value.items()}
        require_kinds(inner, {f"{name}.{key}": each for key, each in example.items()})


def _is_like(value, example):
    if isinstance(example, float):
        # True is a number to Python.
        return type(value) in (int, float) and abs(value) < float("inf")
    if isinstance(example, list):
        return isinstance(value, list) and all(map(_is_text, value))
    if isinstance(example, str):
        return _is_text(value)
    return type(value) is type(example)


def _is_text(value):
    # JSON can hold one half of a surrogate pair, which no UTF-8 can.
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)
