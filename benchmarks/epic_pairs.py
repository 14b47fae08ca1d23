"""Time and memory from EPIC-KITCHENS-55's annotations to labeled and unlabeled pairs.

`python -m benchmarks.epic_pairs --annotations=DIR` takes the release's CSV files to the
pairs of the paper: 23,191 labeled, 5,281 to evaluate and 26,391 unlabeled, beside loops
that one would write with pandas (if it is installed) or the csv module, which check
nothing and list nothing. Each way runs in processes of its own, in turns; on a machine
with other work the CPU seconds say more. Memory is read on Linux only, beyond that of
the imports and with it.
"""

import collections
import csv
import importlib.util
import pathlib
import random
import statistics
import tempfile
import time

from absl import app, flags

from benchmarks import processes

_ANNOTATIONS = flags.DEFINE_string(
    "annotations", None, "Folder of the release's CSV files.", required=True
)
_REPEATS = flags.DEFINE_integer("repeats", 3, "Turns of each way.", lower_bound=1)

_NUM_UNLABELED = 26391
_LEAD_TIME_S, _CLIP_S = 1.0, 32 / 60
_LABELS, _VIDEOS = "EPIC_train_action_labels.csv", "EPIC_video_info.csv"


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    ways = [_with_kd_keras, _with_csv]
    if importlib.util.find_spec("pandas"):
        ways.insert(1, _with_pandas)
    with tempfile.TemporaryDirectory() as root:
        _stand_in(pathlib.Path(root), pathlib.Path(_ANNOTATIONS.value).resolve())
        measured = collections.defaultdict(list)
        for _ in range(_REPEATS.value):
            for way in ways:
                row = processes.in_a_process(_measure, way, root)
                measured[way.__name__].append(row)
    print(f"{'':10}{'s':>7}{'CPU s':>7}{'MB added':>10}{'with imports':>14}  pairs")
    for way in ways:
        *columns, counts = zip(*measured[way.__name__], strict=True)
        seconds, cpu_s, added_mb, peak_mb = map(statistics.median, columns)
        print(
            f"{way.__name__.removeprefix('_with_'):10}{seconds:7.2f}{cpu_s:7.2f}"
            f"{added_mb:10.0f}{peak_mb:14.0f}  {counts[0]}"
        )


def _stand_in(root, annotations):
    """The annotations, and of each video a file that is there and no more."""
    (root / "annotations").symlink_to(annotations)
    with (annotations / _VIDEOS).open(newline="") as file:
        for row in csv.DictReader(file):
            name = row["video"]
            path = root / "rgb/train" / name.split("_")[0] / f"{name}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"stands in")


def _measure(way, root):
    """Seconds and CPU seconds, MB at the peak beyond the imports and in all, counts."""
    work = way()
    before_mb = processes.memory_bytes("VmRSS") / 1e6
    start, cpu_start = time.perf_counter(), time.process_time()
    counts = work(pathlib.Path(root))
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    peak_mb = processes.memory_bytes("VmHWM") / 1e6
    return seconds, cpu_s, peak_mb - before_mb, peak_mb, counts


def _with_kd_keras():
    from kd_keras.data import pair_lists, pairs, unlabeled
    from kd_keras.data.readers import epic_kitchens

    timing = pairs.Timing(_LEAD_TIME_S, _CLIP_S, _CLIP_S)

    def work(root):
        index = epic_kitchens.read_epic_kitchens(root)
        labeled = pairs.labeled_pairs(index, "train", timing)
        evaluated = pairs.labeled_pairs(index, "val", timing)
        chosen = unlabeled.unlabeled_pairs(
            index, timing, rule="gaps", count=_NUM_UNLABELED
        )
        unlabeled.describe_footage(index, chosen, timing, rule="gaps")
        pair_lists.format_unlabeled(chosen, "gaps", 0)
        return f"{len(labeled)}, {len(evaluated)}, {len(chosen)}"

    return work


def _with_pandas():
    import pandas

    def work(root):
        rows = pandas.read_csv(root / "annotations" / _LABELS)
        videos = pandas.read_csv(root / "annotations" / _VIDEOS)
        durations_s = dict(zip(videos["video"], videos["duration"], strict=True))
        return _loop((row for _, row in rows.iterrows()), durations_s)

    return work


def _with_csv():
    def work(root):
        with (root / "annotations" / _VIDEOS).open(newline="") as file:
            durations_s = {
                row["video"]: float(row["duration"]) for row in csv.DictReader(file)
            }
        with (root / "annotations" / _LABELS).open(newline="") as file:
            return _loop(csv.DictReader(file), durations_s)

    return work


def _loop(rows, durations_s):
    """Unlabeled pairs by trial: draws until a window meets no segment of its video."""
    labeled, evaluated, segments = [], [], collections.defaultdict(list)
    for row in rows:
        start_s, end_s = (
            3600 * int(hours) + 60 * int(minutes) + float(seconds)
            for hours, minutes, seconds in (
                row[column].split(":")
                for column in ("start_timestamp", "stop_timestamp")
            )
        )
        pair = _pair(row["video_id"], start_s, int(row["verb_class"]))
        if int(row["participant_id"][1:]) > 25:
            evaluated.append(pair)
        else:
            labeled.append(pair)
            segments[row["video_id"]].append((start_s, end_s))
    draws = random.Random(0)
    videos = list(segments)
    weights = [durations_s[video] for video in videos]
    before_s, unlabeled = _LEAD_TIME_S + _CLIP_S, []
    while len(unlabeled) < _NUM_UNLABELED:
        video = draws.choices(videos, weights)[0]
        start_s = draws.uniform(before_s, durations_s[video] - _CLIP_S)
        if not any(
            s < start_s + _CLIP_S and start_s - before_s < e for s, e in segments[video]
        ):
            unlabeled.append(_pair(video, start_s, None))
    return f"{len(labeled)}, {len(evaluated)}, {len(unlabeled)}"


def _pair(video, start_s, label):
    end_s = start_s - _LEAD_TIME_S
    return video, end_s - _CLIP_S, end_s, start_s, start_s + _CLIP_S, label


if __name__ == "__main__":
    app.run(main)
