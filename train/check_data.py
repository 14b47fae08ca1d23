"""Writes what the check of a run's data set found, for people and programs."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from kd_keras import visualise
from kd_keras.data.checks import flow as check_flow
from kd_keras.data.checks import videos as check_videos
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.pairs import labels_of
from kd_keras.data.readers import epic_kitchens, epic_kitchens_100, jhmdb, thumos14
from kd_keras.data.segments import TRAIN
from kd_keras.data.video.info import BadVideo
from train import data_problems
from train.data import RunData
from train.flags.config import Config
from train.flags.data import Data
from train.pictures import picture
from train.written import write_json

_NUM_PAIRS_SHOWN = 6


def report(config: Config, data: RunData, output: str | os.PathLike) -> dict[str, Any]:
    """Checks the data set; writes check.json and contact.png, prints a summary.

    Raises:
        ValueError: If there are problems, with their number; all are printed.
    """
    found = check_videos.check_data_set(data.whole_index)
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    pairs = {TRAIN: data.labeled, **data.scored}
    problems = [
        *found.problems(),
        *data_problems.problems(config.data, data.whole_index, pairs),
        *_differ_from_published(config.data, found.counts),
    ]
    remarks = [
        *found.remarks(),
        *data_problems.warnings(config.data, data.whole_index, pairs),
        *data_problems.remarks(config.data, data.whole_index),
    ]
    values = dataclasses.asdict(found) | {
        "pairs": data.summary,
        "problems": problems,
        "remarks": remarks,
    }
    flow, clip_format = None, data.loader.clip_format
    if isinstance(clip_format, ClipFormat) and clip_format.modality == "flow":
        flow = check_flow.check_flow(data.whole_index, clip_format)
        problems += flow.problems()
        values["flow"] = dataclasses.asdict(flow)
    write_json(output / "check.json", values)
    _draw_pairs(data, output / "contact.png")
    print(_text(found, data))
    if flow is not None:
        print(_flow_text(flow))
    for remark in remarks:
        print(f"Remark: {remark}")
    for problem in problems:
        print(f"Problem: {problem}")
    print(f"Details and pictures are in {output}: check.json, contact.png")
    if problems:
        raise ValueError(f"{len(problems)} problems were found; see above.")
    return values


def published_counts(flags: Data) -> Mapping[str, int] | None:
    """Returns the published number of labeled segments by part, or None.

    Args:
        flags: The run's `Data` flags.
    """
    if flags.dataset == "jhmdb":
        return jhmdb.NUM_CLIPS[flags.split]
    if flags.dataset == "epic_kitchens":
        return epic_kitchens.NUM_SEGMENTS[flags.epic_split]
    if flags.dataset == "epic_kitchens_100":
        return epic_kitchens_100.NUM_SEGMENTS
    if flags.dataset == "thumos14":
        return thumos14.NUM_ACTIONS
    return None


def _differ_from_published(
    flags: Data, counts: Mapping[str, Mapping[str, int]]
) -> Iterator[str]:
    for part, published in (published_counts(flags) or {}).items():
        number = counts.get(part, {}).get("labeled segments", 0)
        if number != published:
            yield f"{part} has {number} labeled segments, {published} are published"


def _draw_pairs(data: RunData, path: pathlib.Path) -> None:
    """Draws pairs that lie evenly among the labeled and the evaluated ones."""
    clips, titles = [], []
    for name, pairs in (("train", data.labeled), (data.eval_part, data.evaluated)):
        every = max(1, len(pairs) // (_NUM_PAIRS_SHOWN // 2))
        chosen = pairs[::every][: _NUM_PAIRS_SHOWN // 2]
        for pair, number in zip(chosen, labels_of(chosen), strict=True):
            label = data.index.classes[number]
            for field in ("observed", "future"):
                clip = getattr(pair, field)
                try:
                    clips.append(data.loader.load(clip))
                except BadVideo:
                    continue
                span = f"{clip.start_s:.2f}-{clip.end_s:.2f} s"
                titles.append(f"{name}, {label}, {field}: {clip.video} {span}")
    if clips:
        with picture(path) as aside:
            visualise.contact_sheet(clips, titles, aside)


def _text(found: check_videos.Report, data: RunData) -> str:
    lines = [f"{len(found.videos)} videos, {len(found.bad_videos)} cannot be read"]
    rates = sorted({video.frame_rate for video in found.videos})
    if rates:
        lines.append(f"frame rates from {rates[0]:g} to {rates[-1]:g}")
    hours = sum(video.duration_s for video in found.videos) / 3600
    lines.append(f"{hours:.2f} h, {sum(v.num_frames for v in found.videos)} frames")
    for part, counts in found.counts.items():
        counted = ", ".join(f"{number} {name}" for name, number in counts.items())
        lines.append(f"{part}: {counted}")
    width = max(len(label) for label in (*data.index.classes, "(none)"))
    lines.append(" ".join([f"{'':{width}}", *(f"{p:>6}" for p in found.labels)]))
    for label in (*data.index.classes, ""):
        numbers = [f"{labels[label]:>6}" for labels in found.labels.values()]
        lines.append(" ".join([f"{label or '(none)':{width}}", *numbers]))
    for name in ("labeled", "unlabeled", "evaluated"):
        lines.append(f"{name}: {data.summary[name]['num_pairs']} pairs")
    return "\n".join(lines)


def _flow_text(flow: check_flow.FlowReport) -> str:
    agreement = ", ".join(
        f"{channel} {'still' if value is None else f'{value:.2f}'}"
        for channel, value in zip("uv", flow.agreement, strict=True)
    )
    return (
        f"flow: stored for {flow.num_stored} videos; {flow.num_pictures} looked at, "
        f"levels {flow.lowest} to {flow.highest}, mostly {flow.zero_level} (no motion "
        f"is {flow.expected_zero_level}), {100 * flow.cut_off:.1f} % cut off\n"
        f"mirrored flow against that of mirrored frames, correlation: {agreement}"
    )
