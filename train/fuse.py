"""Two-stream evaluation: an RGB run and a flow run, logits added (paper, Table 1)."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kd_keras.data.pairs import labels_of
from kd_keras.data.segments import Pair
from kd_keras.metrics import classification_scores
from kd_keras.models.fusion import fuse_logits
from train import epic_scores, remote_run
from train.evaluate import bad_videos, confusion, majority
from train.finished_run import FinishedRun
from train.flags import config as config_lib
from train.flags.config import Config
from train.loop.distribution import Distribution
from train.remote_run import RemoteRun
from train.report import summary
from train.run_directory import RunDirectory, exclusive_lock
from train.written import write_json

BOTH = "both"
# In the order of --fuse.
_MODALITIES = ("rgb", "flow")


def run_fusion(config: Config, store: RemoteRun | None = None) -> dict[str, Any]:
    """Evaluates two runs alone and together; returns what results.json holds.

    The runs are read, never written to. Teachers are added to teachers, and the
    students of each method that both runs trained.

    Args:
        config: The `Config` with --fuse.
        store: The `RemoteRun` whose working copy the run directory is, or None.
    Raises:
        ValueError: A run lacks something, or the two do not evaluate the same pairs.
    """
    _check(config, store)
    with exclusive_lock(config):
        directory = RunDirectory(config, store=store)
        with remote_run.fetched(*config.run.fuse) as paths:
            results = _evaluate(config, paths)
        directory.begin()
        write_json(directory / "results.json", results)
    print(_table(results))
    print(f"The numbers are in {directory}: results.json.")
    return results


class Stream(FinishedRun):
    """A trained run of one modality.

    Args:
        path: The run directory.
        modality: What the run has to be of.
    """

    def __init__(self, path: str | os.PathLike, modality: str) -> None:
        config = config_lib.from_flagfile(pathlib.Path(path) / "run.flags")
        if config.data.modality != modality:
            raise ValueError(
                f"--fuse takes RUN_RGB,RUN_FLOW. {path} is a run of "
                f"--modality={config.data.modality} where {modality} was expected."
            )
        super().__init__(path)
        self.modality = modality


def _check(config: Config, store: RemoteRun | None) -> None:
    run = config.run
    if run.task != "evaluate":
        raise ValueError(
            f"--fuse evaluates trained runs: add --task=evaluate. Got {run.task}."
        )
    if len(run.fuse) != 2 or len(run.fuse_weights) != 2:
        raise ValueError(
            "--fuse=RUN_RGB,RUN_FLOW and --fuse_weights take two values each. Got "
            f"{run.fuse} and {run.fuse_weights}."
        )
    own = run.folder if store is None else store.url
    # Of remote paths it takes the superfluous slashes.
    if pathlib.Path(own).resolve() in [pathlib.Path(p).resolve() for p in run.fuse]:
        raise ValueError(
            f"--run_dir={own} is one of the runs that are fused; the results "
            "need a folder of their own."
        )


def _evaluate(config: Config, paths: Sequence[str | os.PathLike]) -> dict[str, Any]:
    streams = [
        Stream(path, modality)
        for path, modality in zip(paths, _MODALITIES, strict=True)
    ]
    rgb, flow = streams
    _check_same_task(rgb, flow)
    methods = _shared_methods(rgb, flow)
    logits, indices = {}, []
    for stream in streams:
        logits[stream.modality], seen = stream.all_logits(methods)
        indices.append(seen)
    _check_same_clips(rgb, flow, *indices)
    logits[BOTH] = _weighted_sum(logits, config.run.fuse_weights)
    pairs = [rgb.data.evaluated[i] for i in indices[0]]
    return _results(streams, logits, pairs) | {
        "runs": dict(zip(_MODALITIES, config.run.fuse, strict=True)),
        "weights": dict(zip(_MODALITIES, config.run.fuse_weights, strict=True)),
    }


def _check_same_task(rgb: Stream, flow: Stream) -> None:
    if rgb.data.index.classes != flow.data.index.classes:
        raise ValueError(
            f"{rgb.path} and {flow.path} have other classes: "
            f"{', '.join(rgb.data.index.classes)} and "
            f"{', '.join(flow.data.index.classes)}."
        )
    pairs = rgb.data.evaluated, flow.data.evaluated
    if pairs[0] == pairs[1]:
        return
    differing = [pair for pair in zip(*pairs, strict=False) if pair[0] != pair[1]]
    first = f" The first that differ: {differing[0]}." if differing else ""
    raise ValueError(
        f"{rgb.path} and {flow.path} do not evaluate the same pairs: "
        f"{len(pairs[0])} of the {rgb.data.eval_part} part and {len(pairs[1])} of the "
        f"{flow.data.eval_part} part.{first} Train both with the same data, split and "
        "times."
    )


def _shared_methods(rgb: Stream, flow: Stream) -> list[str]:
    methods = [method for method in rgb.methods() if method in flow.methods()]
    alone = set(rgb.methods()) ^ set(flow.methods())
    if alone:
        print(f"Only one of the runs has the students {', '.join(sorted(alone))}.")
    return methods


def _check_same_clips(
    rgb: Stream, flow: Stream, rgb_indices: Iterable[int], flow_indices: Iterable[int]
) -> None:
    differing = sorted(set(rgb_indices) ^ set(flow_indices))
    if not differing:
        return
    videos = sorted({rgb.data.evaluated[i].observed.video for i in differing})
    reasons = rgb.data.loader.bad_videos | flow.data.loader.bad_videos
    listed = "\n  ".join(f"{name}: {reasons.get(name)}" for name in videos[:5])
    raise ValueError(
        f"{len(differing)} of the evaluated clips can be read in one of the two runs "
        "only, so their results cannot be compared. Repair these "
        f"{len(videos)} videos, or remove them from both runs:\n  {listed}"
    )


def _weighted_sum(
    logits: Mapping[str, Mapping[str, np.ndarray]], weights: Sequence[float]
) -> dict[str, np.ndarray]:
    first, second = (logits[modality] for modality in _MODALITIES)
    return {name: fuse_logits((first[name], second[name]), weights) for name in first}


def _results(
    streams: Sequence[Stream],
    logits: Mapping[str, Mapping[str, np.ndarray]],
    pairs: Sequence[Pair],
) -> dict[str, Any]:
    """Nested like a run's own results, below `rgb`, `flow` and `both`."""
    rgb, labels = streams[0].data, np.array([pair.label for pair in pairs])
    epic = epic_scores.scorer(streams[0].config.data, rgb.index.classes)
    scores: dict[str, dict] = {}
    for column, by_name in logits.items():
        scores[column] = {"teacher": {}, "students": {}}
        for name, values in by_name.items():
            kind, _, which = name.partition(".")
            own = classification_scores(labels, values) | epic(pairs, values)
            scores[column][kind][which] = own
    return scores | {
        "majority": {"top1": majority(labels_of(rgb.labeled), labels)},
        "num_evaluated": len(labels),
        "num_classes": len(rgb.index.classes),
        "eval_part": rgb.eval_part,
        "classes": list(rgb.index.classes),
        "confusion": confusion(logits[BOTH], labels),
        "bad_videos": {s.modality: bad_videos(s.data, Distribution()) for s in streams},
    }


def _table(results: dict[str, Any]) -> str:
    columns = (*_MODALITIES, BOTH)
    rows = {
        name: [top1 for _, top1 in summary.table_rows(results | results[column])[1:]]
        for name, column in zip(("RGB", "Flow", "Both"), columns, strict=True)
    }
    names = [name for name, _ in summary.table_rows(results | results[BOTH])[1:]]
    width = max(map(len, names))
    weights = " : ".join(f"{weight:g}" for weight in results["weights"].values())
    lines = [
        f"{results['num_evaluated']} clips of the {results['eval_part']} part; logits "
        f"added {weights}; majority {100 * results['majority']['top1']:.1f}",
        f"{'top-1':{width}}" + "".join(f"{name:>7}" for name in rows),
    ]
    for name, *values in zip(names, *rows.values(), strict=True):
        lines.append(f"{name:{width}}" + "".join(f"{100 * v:7.1f}" for v in values))
    return "\n".join(lines)
