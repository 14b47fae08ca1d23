"""Mutates CSVs of videos: the rows of Python's csv module are read, or none is.

python -m tests.fuzz_tables --cases=1000 --seed=0
"""

import csv
import io
import pathlib
import unicodedata

import numpy as np

from kd_keras.data.readers.csv_videos import read_csv
from kd_keras.data.segments import PARTS
from tests import fuzz_pool, mutations, numbered_video

_NAME = "actions.csv"
_VALUES = (
    *("", " ", ",", ";", "\t", '"', '""', "'", "\\", "\r", "\n", "\r\n", "\0", "#"),
    *("nan", "inf", "-inf", "1e999", "-1", "-0", "0", "1e-320", "0x10", "1_0", "1,5"),
    *("١", "½", "é", "e\u0301", "\ufeff", "\u200b", "\u2028", "\x85", "\x1c", "😀"),
    *("v0.mp4", "v1.mp4", "../v0.mp4", "/etc/passwd", ".", "video", "label_name"),
    *("train", "val", "test", "open", "$5", "%s", "{}", "\n\n", "x" * 140_000, "a/b"),
    *("video,start,end,label,split\n", "v1.mp4,0,1,open,val\n", "~", "v0.mp4/", "*"),
)


def write_originals(folder):
    """Two videos of 2 s and annotations of each."""
    for number in range(2):
        numbered_video.write(
            folder / f"v{number}.mp4", 20, frame_rate=10, size=(16, 16)
        )
    rows = [
        ("v0.mp4", 0.5, 1.0, "open", "train"),
        ("v0.mp4", 1.0, 1.75, "shut, slowly", "train"),
        ("v0.mp4", 1.75, 2.0, 'say "no"', "train"),
        ("v1.mp4", 0.0, 1.0, "open", "val"),
        ("v1.mp4", 1.0, 2.0, "", "val"),
    ]
    with open(folder / _NAME, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("video", "start", "end", "label", "split"))
        writer.writerows(rows)


def run_case(draws, originals, work):
    """Mutates the annotations and reads them."""
    text = (originals / _NAME).read_bytes().decode()
    for _ in range(draws.choice((1, 1, 2, 3))):
        text = mutations.change_text(text, draws, _VALUES)
    content = mutations.encode_text(text, draws)
    if draws.random() < 0.1:
        content = mutations.change_bytes(content, draws)
    path = work / _NAME
    path.write_bytes(content)
    index, error = fuzz_pool.refusal(
        lambda: read_csv(path, originals, progress=False), path
    )
    if error is not None:
        _check_message(str(error))
        return "refused"
    _compare(index, content, originals)
    return "read"


def _check_message(message):
    if len(message) > 10_000:
        raise fuzz_pool.Fault(f"a message of {len(message)} characters")


def _compare(index, content, originals):
    """The segments are the rows that csv gives, as the annotations' rules say."""
    # Blank lines may stand above the header, which DictReader would take for it.
    text = content.decode("utf-8-sig").lstrip()
    rows = list(csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True))
    expected = set()
    for row in rows:
        row = {
            (name or "").strip(): (value or "").strip()
            for name, value in row.items()
            if not isinstance(value, list)
        }
        label = row.get("label", row.get("label_name"))
        if not any(row.values()):
            continue
        if row["split"] not in PARTS:
            raise fuzz_pool.Fault(f"split {row['split']!r} was read")
        path = (originals / row["video"]).resolve()
        if path.name in index.bad_videos or row["video"] in index.bad_videos:
            continue
        expected.add(
            (
                path,
                float(row["start"]),
                min(float(row["end"]), 2.0),
                unicodedata.normalize("NFC", label),
                row["split"],
            )
        )
    found = {
        (
            pathlib.Path(index.videos[s.video].path).resolve(),
            s.start_s,
            s.end_s,
            s.label or "",
            index.videos[s.video].part,
        )
        for s in index.segments
    }
    if found != expected:
        raise fuzz_pool.Fault(f"read {found - expected} for {expected - found}")
    times_s = np.array([(s.start_s, s.end_s) for s in index.segments])
    if not (np.isfinite(times_s).all() and (times_s[:, 0] < times_s[:, 1]).all()):
        raise fuzz_pool.Fault(f"times {times_s}")


if __name__ == "__main__":
    fuzz_pool.main("tests.fuzz_tables")
