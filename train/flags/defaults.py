"""Fills in data flags whose default depends on the data set."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from absl import flags

from train.flags.data import Augmentation, Data

# Of flags, by name.
_Values: TypeAlias = Mapping[str, Any]

EPIC = ("epic_kitchens", "epic_kitchens_100")

_EPIC_FRAME_RATE = 30.0
# Of released frames, if it is the same for all videos.
_MEDIA_FRAME_RATE = 60.0
_OBSERVED_S = {"thumos14": 1.0}
_DEFAULT_OBSERVED_S = 2.0
# The least --observed_s.
_SHORTEST_OBSERVED_S = 0.01
_OPENED_WHEN_READ = (*EPIC, "thumos14")
# The one network that takes features.
_FEATURE_BACKBONE = "temporal"


def refuse_contradictions(values: flags.FlagValues) -> None:
    """Registers validators that refuse flags which contradict each other."""
    flags.register_multi_flags_validator(
        ["num_frames", "frame_rate", "observed_s"],
        _agree_on_the_observed_clip,
        "--observed_s differs from --num_frames / --frame_rate; give one of the two",
        flag_values=values,
    )
    flags.register_multi_flags_validator(
        ["num_frames", "frame_rate"],
        _last_long_enough,
        f"--num_frames / --frame_rate must be at least {_SHORTEST_OBSERVED_S} s",
        flag_values=values,
    )
    flags.register_multi_flags_validator(
        ["dataset", "backbone", "teacher_backbone"],
        _give_features_to_their_network,
        f"--dataset=features and --backbone={_FEATURE_BACKBONE} need each other, and "
        "the same --teacher_backbone: other networks take pictures",
        flag_values=values,
    )
    flags.register_multi_flags_validator(
        ["dataset", "modality", "cache", "records"],
        _leave_out_what_is_for_videos,
        "--dataset=features reads features as they are: --modality, --cache=disk and "
        "--records are for videos",
        flag_values=values,
    )
    flags.register_multi_flags_validator(
        ["students", "features", "student_init"],
        _start_where_features_do,
        "--students=no_teacher starts without the teacher's weights, which the stored "
        "--features are of; leave out one of them, or store features with "
        "--student_init=pretrained",
        flag_values=values,
    )
    flags.register_multi_flags_validator(
        ["mixup", "features", "teacher_cache"],
        _run_the_teacher_on_mixtures,
        "--mixup makes new clips in every step, and --features and --teacher_cache "
        "keep what the teacher says of clips that come again; leave out one of them",
        flag_values=values,
    )
    flags.register_validator(
        "students",
        lambda students: len(set(students)) == len(students),
        "each student is trained once; name it once",
        flag_values=values,
    )
    flags.register_multi_flags_validator(
        ["labeled_per_batch", "batch_size"],
        _leave_room_for_unlabeled_pairs,
        "--labeled_per_batch must be less than --batch_size: the rest of a batch is "
        "unlabeled pairs",
        flag_values=values,
    )


def complete(data: Data) -> Data:
    """Returns the `Data` with a value for each flag whose default depends on it."""
    frame_rate, observed_s = data.frame_rate, data.observed_s
    future_s, cache = data.future_s, data.cache
    media_frame_rate, is_epic = data.media_frame_rate, data.dataset in EPIC
    if media_frame_rate is None and data.dataset != "epic_kitchens_100":
        media_frame_rate = _MEDIA_FRAME_RATE
    if is_epic and frame_rate is None and observed_s is None:
        frame_rate = _EPIC_FRAME_RATE
    if observed_s is None and frame_rate is not None:
        observed_s = data.num_frames / frame_rate
    if observed_s is None:
        observed_s = _OBSERVED_S.get(data.dataset, _DEFAULT_OBSERVED_S)
    if future_s is None:
        future_s = observed_s if is_epic else 0.0
    if cache is None and data.dataset in (*_OPENED_WHEN_READ, "features"):
        cache = "off"
    return dataclasses.replace(
        data,
        media_frame_rate=media_frame_rate,
        frame_rate=frame_rate,
        observed_s=observed_s,
        future_s=future_s,
        cache=cache,
    )


def can_mix(features: str | None, teacher_cache: str) -> bool:
    """Returns whether --mixup is possible: a mixture has no stored features or targets.

    Args:
        features: --features.
        teacher_cache: --teacher_cache.
    """
    return features is None and teacher_cache == "off"


def has_actions(data: Data) -> bool:
    """Returns whether the classes of a run are actions, pairs of a verb and a noun."""
    return data.dataset in EPIC and data.epic_target == "action"


def see_as_it_is(augmentation: Augmentation, dataset: str) -> Augmentation:
    """Returns the `Augmentation`, without changes of pictures if --dataset=features."""
    if dataset != "features":
        return augmentation
    return dataclasses.replace(
        augmentation,
        crop=False,
        flip=0.0,
        test_crops="center",
        brightness=0.0,
        contrast=0.0,
        saturation=0.0,
    )


def _agree_on_the_observed_clip(values: _Values) -> bool:
    if values["frame_rate"] is None or values["observed_s"] is None:
        return True
    expected_s = values["num_frames"] / values["frame_rate"]
    return math.isclose(values["observed_s"], expected_s, rel_tol=1e-6)


def _last_long_enough(values: _Values) -> bool:
    if values["frame_rate"] is None:
        return True
    return values["num_frames"] / values["frame_rate"] >= _SHORTEST_OBSERVED_S


def _give_features_to_their_network(values: _Values) -> bool:
    student = values["backbone"]
    teacher = values["teacher_backbone"] or student
    is_features = values["dataset"] == "features"
    return all(
        (name == _FEATURE_BACKBONE) == is_features for name in (student, teacher)
    )


def _leave_out_what_is_for_videos(values: _Values) -> bool:
    if values["dataset"] != "features":
        return True
    return (values["modality"], values["records"]) == ("rgb", None) and (
        values["cache"] != "disk"
    )


def _start_where_features_do(values: _Values) -> bool:
    if values["features"] is None or "no_teacher" not in values["students"]:
        return True
    return values["student_init"] != "teacher"


def _run_the_teacher_on_mixtures(values: _Values) -> bool:
    return not values["mixup"] or can_mix(values["features"], values["teacher_cache"])


def _leave_room_for_unlabeled_pairs(values: _Values) -> bool:
    wanted = values["labeled_per_batch"]
    return wanted is None or wanted < values["batch_size"]
