"""Reads CSV annotations by column name. Errors name the file and the line."""

import csv
import io
import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

_NUM_SHOWN = 5
# A quote that is never closed makes one value of the rest of the file.
_CHARACTERS_SHOWN = 1000

Row = TypeVar("Row")


def read_table(
    path: str | os.PathLike,
    columns: Collection[str],
    parse: Callable[[int, dict[str, str]], Row],
    aliases: Mapping[str, str] | None = None,
    optional: Collection[str] = (),
) -> list[Row]:
    """Returns what `parse` makes of every row of a CSV file.

    The file is UTF-8 with commas and a header that names the columns, in any order and
    beside others. Blank rows are skipped; blanks around a value, CRLF and a byte order
    mark do not count.

    Args:
        columns: Names that the header must have, once each.
        parse: Called with the line on which a row starts and its values by column.
            It may raise a ValueError that says what is wrong with the row.
        aliases: Other names of columns.
        optional: Names that the header may have, once each. The values of a column that
            is not there are empty.
    Raises:
        ValueError: If the file is missing, empty, no UTF-8 text or no CSV, its header
            lacks a column, or a row cannot be used; names the file and the lines.
    """
    path = pathlib.Path(path)
    records = _read_records(path)
    header = next(records, None)
    if header is None:
        raise ValueError(
            f"{path} is empty; it needs a header {','.join(columns)} and one row per "
            "segment."
        )
    places = _find_columns(path, *header, columns, aliases or {}, optional)
    rows, problems = [], []
    for line, record in records:
        try:
            _check_width(record, len(header[1]))
            values = {name: record[place] for name, place in places.items()}
            rows.append(parse(line, dict.fromkeys(optional, "") | values))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    if not rows and not problems:
        problems.append("there is a header but no row; write one row per segment")
    stop_at(path, problems)
    return rows


def stop_at(path: str | os.PathLike, problems: Iterable[str]) -> None:
    """Raises a ValueError that counts the problems of a file and shows the first."""
    problems = list(map(_shortened, problems))
    if not problems:
        return
    if len(problems) == 1:
        raise ValueError(f"{path}: {problems[0]}.")
    more = len(problems) - _NUM_SHOWN
    raise ValueError(
        f"{path} has {len(problems)} problems:\n  "
        + "\n  ".join(problems[:_NUM_SHOWN])
        + (f"\n  ... and {more} more" if more > 0 else "")
    )


def read_text(path: str | os.PathLike, what: str = "annotations") -> str:
    """Returns the UTF-8 text of a file that a user gives, its line ends unchanged.

    A byte order mark does not count.

    Args:
        what: Names the file in messages.
    Raises:
        ValueError: If the file is missing or is no UTF-8 text; names the line.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ValueError(f"{what} {path} is not a file.")
    return decode_text(path.read_bytes(), path)


def decode_text(raw: bytes, path: str | os.PathLike) -> str:
    """Returns the text of what `read_text` would find at `path`."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: not UTF-8 text ({error.reason}); save the file as "
            'UTF-8 (a spreadsheet calls it "CSV UTF-8").'
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{path}, line {line}: holds a zero byte, as UTF-16 and spreadsheet files "
            'do; save the file as UTF-8 (a spreadsheet calls it "CSV UTF-8").'
        )
    return text


def _shortened(problem):
    if len(problem) <= _CHARACTERS_SHOWN:
        return problem
    half = _CHARACTERS_SHOWN // 2
    return f"{problem[:half]} [...] {problem[-half:]}"


def _read_records(path) -> Iterator[tuple[int, list[str]]]:
    """Yields (line on which it starts, values) of every record that is not blank."""
    text = io.StringIO(read_text(path), newline="")
    reader = csv.reader(text, skipinitialspace=True, strict=True)
    line = 1
    try:
        for record in reader:
            values = [value.strip() for value in record]
            if any(values):
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {line}: not a CSV record ({error}); put a value that holds "
            'a comma or a quote in "quotes", and write a quote inside as "".'
        ) from error


def _find_columns(path, line, header, columns, aliases, optional):
    """Returns the position of each column, by its name."""
    names = [aliases.get(name, name) for name in header]
    missing = [column for column in columns if column not in names]
    known = [*columns, *(column for column in optional if column in names)]
    twice = [column for column in known if names.count(column) > 1]
    if not missing and not twice:
        return {column: names.index(column) for column in known}
    if missing:
        problem = f"the header lacks {', '.join(missing)}"
    else:
        problem = f"the header has {', '.join(twice)} more than once"
        others = [f"{a} is another name of {c}" for a, c in aliases.items()]
        if others:
            problem += f" ({', '.join(others)})"
    problem += f". It has {header}, and must name {','.join(columns)} once each"
    if len(header) == 1 and (used := {";", "\t", "|"} & set(header[0])):
        problem += f"; it is separated by {used.pop()!r}: save it with commas"
    raise ValueError(f"{path}, line {line}: {_shortened(problem)}.")


def _check_width(record, num_columns):
    if len(record) != num_columns:
        raise ValueError(
            f"{len(record)} values where the header has {num_columns}; put a value "
            'that holds a comma in "quotes"'
        )
