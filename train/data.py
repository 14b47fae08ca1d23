"""Finds the videos of a run and cuts them into pairs."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kd_keras.data import csv_table, memory, pair_lists, pairs, unlabeled
from kd_keras.data.batches.order import SamplingPolicy
from kd_keras.data.clips.augment import Augmentation
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader, ClipReader
from kd_keras.data.records import data_set as stored_data_set
from kd_keras.data.records import shards
from kd_keras.data.records.clips import RecordLoader
from kd_keras.data.segments import TRAIN, Clip, Index, Pair
from train import data_index, data_parts, data_problems, data_set, feature_data
from train.flags import data as data_flags
from train.flags import fields as flag_fields
from train.flags.config import Config
from train.run_directory import RunDirectory
from train.written import write_text

# Networks and batches take the rest.
_PART_OF_MEMORY = 0.75


@dataclasses.dataclass(frozen=True)
class RunData:
    """The pairs of a run and what reads them.

    Attributes:
        index: Classes, videos and segments; withheld labels are gone.
        whole_index: The same with every label.
        labeled: Training pairs with a label.
        action_pairs: With --include_action_segments the same again, with the future
            clip as the observed one; for students alone.
        unlabeled: Training pairs without.
        evaluated: Labeled pairs of the evaluated part.
        eval_part: `val` or `test`.
        choosing: Labeled pairs by which weights and students are chosen; perhaps the
            evaluated ones, never pairs of the test part; empty if there are none.
        choosing_part: `held_out`, `val` or None.
        loader: Reads the clips.
        augmentation: Of training clips.
        summary: Counts by group of pairs, for results.json.
    """

    index: Index
    whole_index: Index
    labeled: list[Pair]
    action_pairs: list[Pair]
    unlabeled: list[Pair]
    evaluated: list[Pair]
    eval_part: str
    choosing: list[Pair]
    choosing_part: str | None
    loader: ClipReader
    augmentation: Augmentation
    summary: dict

    @property
    def for_students(self) -> list[Pair]:
        """The pairs that a student may learn from."""
        return [*self.labeled, *self.action_pairs, *self.unlabeled]

    @property
    def scored(self) -> dict[str, list[Pair]]:
        """The labeled pairs by part on which networks are scored."""
        by_part = {self.eval_part: self.evaluated, self.choosing_part: self.choosing}
        return {part: members for part, members in by_part.items() if part is not None}


def load(
    config: Config, directory: RunDirectory | pathlib.Path, refuse_problems: bool = True
) -> RunData:
    """Reads the annotations, opens the videos and cuts the pairs.

    Args:
        config: The run's `Config`.
        directory: The `RunDirectory`, for generated videos and cached clips.
        refuse_problems: False leaves it to the caller to say what is wrong.
    """
    flags = config.data
    records = None
    _check_data_service(config)
    if flags.records is None:
        index = data_index.read(config, directory, refuse_problems)
    else:
        records = shards.Shards(flags.records)
        index = stored_data_set.read(flags.records)
        data_set.refuse_other_annotations(flags, index)
        if flags.observed_fraction is not None and index.infos.keys() < {*index.videos}:
            # Records of pairs by lead time do not know when frames are shown.
            _refuse_other_pairs(config, records)
    whole_index = index
    eval_part = data_parts.evaluated(flags, index)
    index = data_parts.hold_out(flags, index)
    choosing_part = data_parts.choosing(index)
    index = pairs.withhold_labels(index, flags.labeled_fraction, flags.label_seed)
    timing = timing_of(flags)
    by_part = {
        part: pairs.labeled_pairs(index, part, timing)
        for part in (TRAIN, eval_part, choosing_part)
        if part is not None
    }
    labeled, evaluated = by_part[TRAIN], by_part[eval_part]
    choosing = [] if choosing_part is None else by_part[choosing_part]
    if refuse_problems:
        data_problems.look_over(flags, whole_index, by_part)
    unlabeled_pairs = _unlabeled_pairs(flags, index, timing)
    action_pairs = []
    if flags.include_action_segments:
        action_pairs = [dataclasses.replace(p, observed=p.future) for p in labeled]
    groups = {
        "labeled": labeled,
        "at_action": action_pairs,
        "unlabeled": unlabeled_pairs,
        "evaluated": evaluated,
    }
    if choosing_part not in (eval_part, None):
        groups[choosing_part] = choosing
    summaries = _summaries(flags, index, groups, timing)
    loader: ClipReader
    if records is None:
        loader = _loader(config, directory, index, groups.values())
    else:
        loader = _record_loader(config, records, groups.values())
    return RunData(
        index=index,
        whole_index=whole_index,
        labeled=labeled,
        action_pairs=action_pairs,
        unlabeled=unlabeled_pairs,
        evaluated=evaluated,
        eval_part=eval_part,
        choosing=choosing,
        choosing_part=choosing_part,
        loader=loader,
        augmentation=augmentation(config.augmentation),
        summary={name: dataclasses.asdict(s) for name, s in summaries.items()}
        | {"dropped": index.dropped},
    )


def write_lists(flags: data_flags.Data, data: RunData, directory: RunDirectory) -> None:
    """Leaves the pairs of the run in its folder, for others to check and to use."""
    groups = {"labeled": data.labeled, "evaluated": data.evaluated}
    if data.choosing_part not in (data.eval_part, None):
        groups[data.choosing_part] = data.choosing
    for name, members in groups.items():
        text = pair_lists.format_labeled(
            members, data.index, flags.num_frames, flags.short_clip
        )
        write_text(directory / f"pairs_{name}.csv", text)
    if flags.unlabeled_list is not None:
        # With the rule and the seed that made it.
        text = csv_table.read_text(flags.unlabeled_list)
    else:
        text = pair_lists.format_unlabeled(
            data.unlabeled, _rule(flags), flags.label_seed
        )
    write_text(directory / "pairs_unlabeled.csv", text)


def timing_of(flags: data_flags.Data) -> pairs.Timing:
    """Returns where the two clips of a pair lie.

    Args:
        flags: The run's `Data` flags.
    """
    if flags.observed_fraction is not None:
        return pairs.Timing(observed_fraction=flags.observed_fraction)
    return pairs.Timing(
        lead_time_s=flags.lead_time_s,
        observed_s=flags.observed_s,
        future_s=flags.future_s if flags.future_s > 0 else None,
    )


def clip_format(flags: data_flags.Data) -> ClipFormat | FeatureFormat:
    """Returns the format of the clips of a run."""
    if flags.dataset == "features":
        return feature_data.clip_format(flags)
    return format_of_videos(flags)


def format_of_videos(flags: data_flags.Data) -> ClipFormat:
    """Returns the format of the clips of a run on videos."""
    return ClipFormat(
        **flag_fields.affecting("clips", flags),
        flow_encoding=data_index.flow_encoding(flags),
    )


def augmentation(flags: data_flags.Augmentation) -> Augmentation:
    """Returns the `Augmentation` of training clips.

    Args:
        flags: The run's `Augmentation` flags.
    """
    names = [field.name for field in dataclasses.fields(Augmentation)]
    return Augmentation(**{name: getattr(flags, name) for name in names})


def clips_of(*groups: Iterable[Pair]) -> set[Clip]:
    """Returns every clip of groups of pairs, once."""
    return {
        clip
        for pairs in groups
        for pair in pairs
        for clip in (pair.observed, pair.future)
    }


def sampling(config: Config, pairs: Iterable[Pair]) -> SamplingPolicy:
    """Returns how often training shows each of some pairs.

    Args:
        config: The run's `Config`.
        pairs: Without unlabeled ones, --labeled_per_batch means nothing.
    """
    training = config.training
    mixed = any(pair.label is None for pair in pairs)
    return SamplingPolicy(
        balanced=training.balanced,
        labeled_per_batch=training.labeled_per_batch if mixed else None,
        batch_size=training.batch_size,
    )


def _unlabeled_pairs(
    flags: data_flags.Data, index: Index, timing: pairs.Timing
) -> list[Pair]:
    if flags.unlabeled_list is not None:
        return pair_lists.read_unlabeled(flags.unlabeled_list, index)
    return unlabeled.unlabeled_pairs(
        index,
        timing,
        rule=_rule(flags),
        count=flags.unlabeled_pairs,
        seed=flags.label_seed,
    )


def _summaries(
    flags: data_flags.Data,
    index: Index,
    groups: Mapping[str, Sequence[Pair]],
    timing: pairs.Timing,
) -> dict[str, Any]:
    """Prints and returns, by name, the counts of each group and of the footage."""
    summaries: dict[str, Any] = {
        name: pairs.summarize_pairs(group, index) for name, group in groups.items()
    }
    for name, summary in summaries.items():
        # results.json keeps the name that releases before gave to action pairs.
        shown = "action_pairs" if name == "at_action" else name
        print(f"{shown}: {summary}", flush=True)
    rule = _rule(flags)
    if rule is not None and flags.observed_fraction is None:
        summaries["footage"] = unlabeled.describe_footage(
            index, groups["unlabeled"], timing, rule=rule
        )
        print(summaries["footage"], flush=True)
    return summaries


def _rule(flags: data_flags.Data) -> str | None:
    return flags.unlabeled_rule if flags.unlabeled_gaps else None


def _loader(
    config: Config,
    directory: RunDirectory | pathlib.Path,
    index: Index,
    groups: Iterable[Iterable[Pair]],
) -> ClipLoader:
    flags = config.data
    if flags.dataset == "features":
        return feature_data.loader(flags, index)
    cache_dir: str | pathlib.Path | None = flags.cache_dir
    if flags.cache == "disk" and cache_dir is None:
        cache_dir = directory / "clips"
    loader = ClipLoader(
        index.videos,
        format_of_videos(flags),
        cache=flags.cache or "memory",
        cache_dir=cache_dir,
        max_bad_videos=flags.max_bad_videos,
        infos=index.infos,
    )
    # Videos that were not opened yet are not opened for an estimate.
    if loader.cache != "off" and index.infos.keys() == index.videos.keys():
        _say_what_is_kept(loader, clips_of(*groups), may_change=flags.cache is None)
    return loader


def _say_what_is_kept(loader: ClipLoader, clips: set[Clip], may_change: bool) -> None:
    """Says how large the cache gets. Turns it off if memory is too small and it may."""
    needed, available = loader.estimate_bytes(clips), memory.available_bytes()
    size = f"{needed / 1e9:.2f} GB"
    if may_change and available is not None and needed > _PART_OF_MEMORY * available:
        loader.cache = "off"
        print(
            f"{len(clips)} clips would take {size} of the {available / 1e9:.2f} GB of "
            "memory that are free. They are decoded each time instead; --cache=disk "
            "keeps them on disk.",
            flush=True,
        )
        return
    place = "memory" if loader.cache == "memory" else loader.cache_dir
    print(f"{len(clips)} clips will take {size} in {place}", flush=True)


def _record_loader(
    config: Config, records: shards.Shards, groups: Iterable[Iterable[Pair]]
) -> RecordLoader:
    flags = config.data
    loader = RecordLoader(records, format_of_videos(flags))
    clips = clips_of(*groups)
    missing = [clip for clip in clips if clip not in loader]
    if missing:
        _refuse_other_pairs(config, records)
        raise ValueError(
            f"--records={records.folder} lacks {len(missing)} of the {len(clips)} "
            f"clips of this run, the first of {missing[0].video}. Prepare another "
            "folder."
        )
    return loader


def _refuse_other_pairs(config: Config, records: shards.Shards) -> None:
    """Says which flags of the pairs differ from those of the records, if any do."""
    shards.check_fingerprint(
        records.folder,
        {"made_from": records.fingerprint},
        flag_fields.with_dashes(config.affecting("pairs")),
        only_given=True,
    )


def _check_data_service(config: Config) -> None:
    """Raises ValueError if --data_service meets flags that it would ignore."""
    if config.data.data_service is None:
        return
    if config.data.records is None:
        raise ValueError(
            "--data_service needs --records: its workers read prepared clips, under a "
            "path that they share."
        )
    # The service's stream has an order and draws of its own.
    unknown = [
        flag
        for flag, is_given in {
            "--balanced": config.training.balanced,
            "--labeled_per_batch": config.training.labeled_per_batch is not None,
            "--teacher_cache": config.distillation.teacher_cache != "off",
            "--features": config.data.features is not None,
        }.items()
        if is_given
    ]
    if unknown:
        raise ValueError(
            f"--data_service does not know {', '.join(unknown)}: leave out one or the "
            "other."
        )
