"""Finds the videos of a run and cuts them into pairs."""

import dataclasses

from kd_keras.data import csv_videos, jhmdb, pairs, scenes
from kd_keras.data.clips import ClipFormat, ClipLoader
from kd_keras.data.pipeline import Augmentation
from kd_keras.data.segments import TEST, TRAIN, VAL, Index, Pair


@dataclasses.dataclass(frozen=True)
class RunData:
    """The pairs of a run and what reads them.

    Attributes:
        index: Classes, videos and segments; withheld labels are gone.
        labeled: Training pairs with a label.
        unlabeled: Training pairs without.
        evaluated: Labeled pairs of the evaluated part.
        eval_part: `val` or `test`.
        loader: Reads the clips.
        augmentation: Of training clips.
        summary: Counts by group of pairs, for results.json.
    """

    index: Index
    labeled: list[Pair]
    unlabeled: list[Pair]
    evaluated: list[Pair]
    eval_part: str
    loader: ClipLoader
    augmentation: Augmentation
    summary: dict


def load(config, directory):
    """Reads the annotations, opens the videos and cuts the pairs.

    Args:
        config: The run's `Config`.
        directory: The `RunDirectory`, for generated videos and cached clips.
    """
    options = config.data
    index = _read_index(config, directory)
    parts = {video.part for video in index.videos.values()}
    eval_part = _eval_part(options.eval_part, parts)
    index = pairs.withhold_labels(index, options.labeled_fraction, options.label_seed)
    timing = _timing(options)
    labeled = pairs.labeled_pairs(index, TRAIN, **timing)
    evaluated = pairs.labeled_pairs(index, eval_part, **timing)
    unlabeled = pairs.unlabeled_pairs(
        index,
        **timing,
        gaps=options.unlabeled_gaps,
        count=options.unlabeled_pairs,
        seed=options.label_seed,
    )
    groups = {"labeled": labeled, "unlabeled": unlabeled, "evaluated": evaluated}
    summaries = {name: pairs.summarise(group) for name, group in groups.items()}
    for name, summary in summaries.items():
        print(f"{name}: {summary}", flush=True)
    return RunData(
        index=index,
        labeled=labeled,
        unlabeled=unlabeled,
        evaluated=evaluated,
        eval_part=eval_part,
        loader=_loader(config, directory, index, groups.values()),
        augmentation=_augmentation(config.augmentation),
        summary={name: dataclasses.asdict(s) for name, s in summaries.items()},
    )


def _read_index(config, directory):
    options = config.data
    if options.dataset == "jhmdb":
        _require(options, "data_root")
        return jhmdb.read_jhmdb(
            options.data_root, options.split, max_bad_videos=options.max_bad_videos
        )
    if options.dataset == "demo":
        annotations = _write_demo(config, directory)
        video_root = annotations.parent
    else:
        _require(options, "annotations", "video_root")
        annotations, video_root = options.annotations, options.video_root
    return csv_videos.read_csv(annotations, video_root, options.max_bad_videos)


def _write_demo(config, directory):
    options = config.data
    print(f"Writing {options.demo_videos} videos to {directory / 'demo'}", flush=True)
    return scenes.write_scenes(
        directory / "demo",
        num_videos=options.demo_videos,
        labeled_fraction=options.demo_labeled_fraction,
    )


def _require(options, *names):
    for name in names:
        if getattr(options, name) is None:
            raise ValueError(f"--dataset={options.dataset} needs --{name}; see --help.")


def _eval_part(wanted, parts):
    if wanted == "auto":
        wanted = VAL if VAL in parts else TEST
    if wanted not in parts:
        raise ValueError(
            f"There is no readable video of the part {wanted!r} to evaluate on; the "
            f"data set has {', '.join(sorted(parts))}."
        )
    return wanted


def _timing(options):
    if options.observed_fraction is not None:
        return {"observed_fraction": options.observed_fraction}
    return {
        "lead_time_s": options.lead_time_s,
        "observed_s": options.observed_s,
        "future_s": options.future_s,
    }


def _loader(config, directory, index, groups):
    options = config.data
    cache_dir = options.cache_dir
    if options.cache == "disk" and cache_dir is None:
        cache_dir = directory / "clips"
    loader = ClipLoader(
        index.videos,
        ClipFormat(
            num_frames=options.num_frames,
            image_size=options.image_size,
            fit=options.fit,
            short_clip=options.short_clip,
        ),
        cache=options.cache,
        cache_dir=cache_dir,
        max_bad_fraction=options.max_bad_videos,
        infos=index.infos,
    )
    if options.cache != "off":
        clips = {
            clip for pairs in groups for p in pairs for clip in (p.observed, p.future)
        }
        gigabytes = loader.estimate_bytes(clips) / 1e9
        place = "memory" if options.cache == "memory" else cache_dir
        print(f"{len(clips)} clips will take {gigabytes:.2f} GB in {place}", flush=True)
    return loader


def _augmentation(options):
    return Augmentation(
        crop=options.crop,
        flip=options.flip,
        brightness=options.brightness,
        contrast=options.contrast,
        saturation=options.saturation,
    )
