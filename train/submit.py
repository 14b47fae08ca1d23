"""Predicts the test part of EPIC-KITCHENS and writes the challenge's files.

python -m train.main --flagfile=RUN_DIR/run.flags --task=submit
"""

import pathlib
import types
from collections.abc import Iterable

import keras
import numpy as np

from export.student_file import ExportSpec, load_spec
from kd_keras.data.batches.fields import OBSERVED
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.clips.loader import ClipLoader
from kd_keras.data.pairs import Timing
from kd_keras.data.parallel import progress_bar
from kd_keras.data.readers import epic_annotations, epic_kitchens, epic_kitchens_100
from kd_keras.data.readers.epic_annotations import Row
from kd_keras.data.segments import TEST, Index, Pair
from kd_keras.statistics import softmax
from train import data_index
from train.challenge import ChallengeFile, SupervisionLevels
from train.evaluator import Evaluator
from train.flags import defaults as flag_defaults
from train.flags.config import Config
from train.flags.data import Data
from train.loop import guards
from train.loop.distribution import Distribution
from train.remote_run import RemoteRun
from train.run_directory import exclusive_lock
from train.test_time_crops import crops_of
from train.written import write_json

_READERS = {
    "epic_kitchens": epic_kitchens,
    "epic_kitchens_100": epic_kitchens_100,
}
# No network may see more than the second before the action leaves.
_LEAST_LEAD_TIME_S = 1.0


def run_submission(config: Config, store: RemoteRun | None = None) -> None:
    """Writes `challenge/<part>.json` into the run directory for each test part.

    Args:
        config: The run's `Config`, with --data_root.
        store: The `RemoteRun` whose working copy the run directory is, or None.
    Raises:
        ValueError: If the run has no student that predicts actions a second ahead, or
            a file of the release cannot be used.
    """
    options, folder = config.data, pathlib.Path(config.run.folder)
    path = folder / "student.keras"
    spec, clip_format = _spec(options, path)
    reader = _READERS[options.dataset]
    release = reader.RELEASE
    annotations = epic_annotations.find_folder(
        pathlib.Path(options.required("data_root")),
        release,
        next(iter(release.tests.values())),
    )
    names = epic_annotations.read_vocabulary(annotations, release, "action").names
    file = ChallengeFile(
        spec.classes, names["verb"], names["noun"], release.version, _levels(config)
    )
    with exclusive_lock(config):
        student = keras.saving.load_model(path, compile=False)
        for part, name in release.tests.items():
            rows = epic_annotations.read_rows(annotations / name, release.uid, {})
            index = _open(options, reader, annotations, rows)
            uids, probabilities = _predict(
                config, spec, clip_format, student, index, rows
            )
            read = set(uids)
            unread = [row.uid for row in rows if row.uid not in read]
            written = folder / "challenge" / f"{part}.json"
            written.parent.mkdir(exist_ok=True)
            write_json(written, file.content(uids, probabilities, unread))
            if unread:
                guards.warn(
                    f"{len(unread)} of {len(rows)} segments of {name} cannot be read. "
                    "Their scores are 0."
                )
            print(f"{len(rows)} segments of {name}: {written}", flush=True)


def _spec(options: Data, path: pathlib.Path) -> tuple[ExportSpec, ClipFormat]:
    """What the student says of itself and of its clips, if it can take part."""
    if options.dataset not in flag_defaults.EPIC or options.data_root is None:
        raise ValueError(
            "--task=submit needs --dataset=epic_kitchens or epic_kitchens_100, and "
            "--data_root with the release's test part."
        )
    if not path.is_file():
        raise ValueError(f"--task=submit needs a trained student. Found no {path}.")
    spec = load_spec(path)
    if not spec.are_actions:
        raise ValueError(
            f"The challenge scores verbs, nouns and actions, and {path} does not know "
            "actions: train with --epic_target=action."
        )
    clip_format = spec.clip_format
    if not isinstance(clip_format, ClipFormat):
        raise ValueError(
            f"{path} sees features of another network, and --task=submit shows it the "
            "videos of the test part."
        )
    lead_time_s = spec.lead_time_s
    if lead_time_s is None or spec.observed_s is None:
        raise ValueError(f"{path} was not trained with times in seconds.")
    if lead_time_s < _LEAST_LEAD_TIME_S:
        raise ValueError(
            f"The challenge wants {_LEAST_LEAD_TIME_S:g} s between what is seen and "
            f"the action. {path} was trained with --lead_time_s={lead_time_s:g}."
        )
    return spec, clip_format


def _levels(config: Config) -> SupervisionLevels:
    given = config.run.supervision_levels
    if given and len(given) != 3:
        raise ValueError(
            "--supervision_levels are three numbers, such as 2,4,3. Got "
            f"{','.join(map(str, given))}."
        )
    if given:
        return SupervisionLevels(*given)
    # I3D's weights come from labeled videos. We assume the same of all other files.
    pretraining = {None: 0, "imagenet": 1}.get(config.network.weights, 2)
    return SupervisionLevels(pretraining)


def _open(
    options: Data,
    reader: types.ModuleType,
    annotations: pathlib.Path,
    rows: Iterable[Row],
) -> Index:
    """The index of the videos of a test part, with the flow that training reads."""
    release, parts = reader.RELEASE, {row.video: TEST for row in rows}
    index = epic_annotations.open_videos(
        release,
        annotations,
        options.required("data_root"),
        parts,
        reader.frame_rates(parts, options.media_frame_rate),
        options.max_bad_videos,
    )
    return data_index.with_flow(options, index)


def _predict(
    config: Config,
    spec: ExportSpec,
    clip_format: ClipFormat,
    student: keras.Model,
    index: Index,
    rows: Iterable[Row],
) -> tuple[list[str], np.ndarray]:
    """Returns the uids of the segments that can be read, and their probabilities."""
    timing = Timing(spec.lead_time_s, spec.observed_s)
    pairs = []
    for row in rows:
        if row.video in index.videos:
            observed = timing.observed_before(row.video, row.start_s)
            pairs.append(Pair(observed, observed, None, row.uid))
    loader = ClipLoader(
        index.videos,
        clip_format,
        cache="off",
        max_bad_videos=config.data.max_bad_videos,
        infos=index.infos,
    )
    evaluator = Evaluator(
        pairs, loader, config.training.batch_size, len(spec.classes), Distribution()
    )
    predictor = evaluator.predictor(student, crops_of(config.augmentation))
    evaluator = evaluator.counted_by(progress_bar(evaluator.num_clips, "clip"))
    read, logits = evaluator.pairs_and_logits(predictor, OBSERVED)
    return [pair.uid for pair in read], softmax(np.mean(logits, axis=1))
