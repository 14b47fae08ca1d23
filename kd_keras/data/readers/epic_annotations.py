"""The CSV files that both releases of EPIC-KITCHENS share in form."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping

from kd_keras.data.actions import action_name
from kd_keras.data.csv_table import read_table, stop_at
from kd_keras.data.readers.release import open_release
from kd_keras.data.segments import Index, Segment

TARGETS = ("verb", "noun", "action")


@dataclasses.dataclass(frozen=True)
class Row:
    """An annotated action: its segment, and the numbers of its verb and noun.

    `verb` or `noun` is None if the target does not need it.
    """

    line: int
    uid: str
    participant: str
    video: str
    start_s: float
    end_s: float
    verb: int | None
    noun: int | None


@dataclasses.dataclass(frozen=True)
class Release:
    """How a release names its files and columns.

    Attributes:
        name: What people call it.
        folders: Where the annotations may be, relative to the root.
        classes, class_number: A file and a column, with {} for `verb` or `noun`.
        class_name, uid, video: Columns.
        video_info: The file of durations.
        tests: Files of the test part, by what they are called in the challenge.
        version: Of the form in which the challenge takes predictions.
    """

    name: str
    folders: tuple[str, ...]
    classes: str
    class_number: str
    class_name: str
    uid: str
    video_info: str
    video: str
    tests: dict[str, str]
    version: str


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What the classes of a target are called.

    Attributes:
        target: `verb`, `noun` or `action`.
        names: Names of the classes in the order of their numbers, by `verb` and
            `noun`: of the target alone, or of both for actions.
    """

    target: str
    names: dict[str, tuple[str, ...]]

    @property
    def num_classes(self) -> dict[str, int]:
        """Number of classes by `verb` and `noun`, as `read_rows` takes them."""
        return {kind: len(names) for kind, names in self.names.items()}

    def label(self, row: Row) -> str:
        """Returns the name of a row's class."""
        if self.target == "action":
            verb, noun = self.names["verb"][row.verb], self.names["noun"][row.noun]
            return action_name(verb, noun)
        number = row.verb if self.target == "verb" else row.noun
        return self.names[self.target][number]

    def classes(self, rows: Iterable[Row]) -> tuple[str, ...]:
        """Returns the names of all classes, of which some may have no row.

        Actions are the pairs that the rows have, in the order of their numbers.
        """
        if self.target != "action":
            return self.names[self.target]
        first = {(row.verb, row.noun): row for row in rows}
        return tuple(self.label(first[pair]) for pair in sorted(first))


def read_vocabulary(folder: pathlib.Path, release: Release, target: str) -> Vocabulary:
    """Reads the names of the classes of a target.

    Raises:
        ValueError: If the target is none, or a file cannot be used.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be verb, noun or action. Got {target!r}.")
    kinds = ("verb", "noun") if target == "action" else (target,)
    return Vocabulary(
        target,
        {
            kind: _read_classes(
                folder / release.classes.format(kind),
                release.class_number.format(kind),
                release.class_name,
            )
            for kind in kinds
        },
    )


def find_folder(data_root: pathlib.Path, release: Release, file: str) -> pathlib.Path:
    """Returns the folder of the annotations, which holds `file`."""
    folders = [data_root / name for name in release.folders]
    for folder in folders:
        if (folder / file).is_file():
            return folder
    raise ValueError(
        f"Found no {file} of {release.name}. Looked in "
        f"{', '.join(map(str, folders))}. Put the CSV files of the release's "
        "annotations into data_root or into its folder annotations."
    )


def read_numbers(path: str | os.PathLike, column: str, num_classes: int) -> list[int]:
    """Returns the class numbers in a column of a list, such as the tail verbs."""
    return read_table(
        path,
        (column,),
        lambda _, row: _class_number(column, row[column], num_classes),
    )


def read_rows(
    path: str | os.PathLike, uid_column: str, num_classes: dict[str, int]
) -> list[Row]:
    """Returns the rows of a file of annotated actions, in its order.

    Args:
        uid_column: `uid` or `narration_id`.
        num_classes: By `verb` and `noun`, of those that are wanted. With neither the
            file needs no labels, as those of the test part have none.
    Raises:
        ValueError: If a row cannot be used; names the lines.
    """
    first: dict[str, int] = {}

    def parse(line, row):
        numbers = {
            kind: _class_number(f"{kind}_class", row[f"{kind}_class"], number)
            for kind, number in num_classes.items()
        }
        start_s = _seconds("start_timestamp", row["start_timestamp"])
        end_s = _seconds("stop_timestamp", row["stop_timestamp"])
        if end_s <= start_s:
            raise ValueError(
                f"stop_timestamp {row['stop_timestamp']} is not after start_timestamp "
                f"{row['start_timestamp']}"
            )
        uid, video, participant = (
            row[name] for name in (uid_column, "video_id", "participant_id")
        )
        if not re.fullmatch(r"P\d+", participant) or not video.startswith(participant):
            raise ValueError(
                f"participant_id {participant!r} of video {video!r} is not like P01 "
                "of P01_01"
            )
        if first.setdefault(uid, line) != line:
            raise ValueError(f"{uid_column} {uid!r} is that of line {first[uid]}, too")
        return Row(
            line,
            uid,
            participant,
            video,
            start_s,
            end_s,
            numbers.get("verb"),
            numbers.get("noun"),
        )

    labels = [f"{kind}_class" for kind in num_classes]
    columns = (uid_column, "participant_id", "video_id", "start_timestamp")
    return read_table(path, (*columns, "stop_timestamp", *labels), parse)


def read_durations(path: pathlib.Path, video_column: str) -> dict[str, float]:
    """Returns seconds by video. The dict is empty if there is no such file."""
    if not path.is_file():
        return {}

    def parse(line, row):
        try:
            duration_s = float(row["duration"])
        except ValueError:
            duration_s = 0.0
        if not 0 < duration_s < float("inf"):
            raise ValueError(
                f"duration {row['duration']!r} is not a number of seconds above 0"
            )
        return row[video_column], duration_s

    return dict(read_table(path, (video_column, "duration"), parse))


def open_videos(
    release: Release,
    folder: pathlib.Path,
    data_root: str | os.PathLike,
    parts: Mapping[str, str],
    frame_rates: Mapping[str, float],
    max_bad_videos: float,
    progress: bool = True,
) -> Index:
    """Finds the videos of a release as `open_release` does, by its file of durations.

    Args:
        folder: Of the annotations.
        data_root, parts, frame_rates, max_bad_videos, progress: As `open_release` takes
            them.
    """
    durations_s = read_durations(folder / release.video_info, release.video)
    return open_release(
        data_root, parts, durations_s, frame_rates, max_bad_videos, progress
    )


def segments(
    path: pathlib.Path, rows: Iterable[Row], found: Index, vocabulary: Vocabulary
) -> tuple[Segment, ...]:
    """Returns the segments of the rows whose videos were found.

    An end beyond the end of the video is cut.

    Raises:
        ValueError: If a row starts beyond the end; names the line of `path`.
    """
    rows = [row for row in rows if row.video in found.videos]
    stop_at(path, _beyond_the_video(rows, found.durations_s))
    return tuple(
        Segment(
            row.video,
            row.start_s,
            min(row.end_s, found.durations_s[row.video]),
            vocabulary.label(row),
            uid=row.uid,
        )
        for row in rows
    )


def _read_classes(path, number_column, name_column):
    """Returns the names of the classes; their numbers are the positions."""
    keys = dict(
        read_table(
            path,
            (number_column, name_column),
            lambda line, row: (
                _whole_number(number_column, row[number_column]),
                row[name_column],
            ),
        )
    )
    names = tuple(keys.get(number, "") for number in range(len(keys)))
    if "" in names or len(set(names)) < len(names):
        raise ValueError(
            f"{path}: {number_column} must count from 0 and every {name_column} "
            "differ. Take the file of the release."
        )
    return names


def _class_number(column, text, num_classes):
    number = _whole_number(column, text)
    if number >= num_classes:
        raise ValueError(
            f"{column} {number} is none of the {num_classes} of the release"
        )
    return number


def _whole_number(column, text):
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"{column} {text!r} is not the number of a class, such as 12")
    return int(text)


def _seconds(column, text):
    matched = re.fullmatch(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d*)?)", text)
    if not matched:
        raise ValueError(f"{column} {text!r} is not a time as 00:01:02.50 is")
    hours, minutes, seconds = matched.groups()
    # Free of the error of the sum: 00:01:02.35 is the float 62.35.
    return round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 6)


def _beyond_the_video(rows, durations_s):
    for row in rows:
        if row.start_s >= durations_s[row.video]:
            yield (
                f"line {row.line}: the action at {row.start_s:g} s begins after the "
                f"end of video {row.video}, which lasts {durations_s[row.video]:.3f} s"
            )
