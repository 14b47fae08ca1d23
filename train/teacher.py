"""Trains the recognition network on the labeled future clips."""

import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from export.student_file import clip_shape, load_spec, spec_path
from kd_keras.data.batches.fields import FUTURE
from kd_keras.data.clips.format import MODALITIES, ClipFormat
from kd_keras.data.pairs import labels_of
from kd_keras.models.outputs import as_logits
from train import data as data_lib
from train import networks, phases, results
from train.experiment import Experiment
from train.flags.config import Config, Run
from train.flags.data import Data
from train.loop import guards

# Clips on which a teacher is compared with the most frequent class.
_MAX_CHECKED = 512


def load_or_train_teacher(experiment: Experiment) -> keras.Model:
    """Returns the run's teacher: given, already trained, or trained now."""
    path = teacher_path(experiment.config.run)
    if path.exists():
        return _load(path, experiment.config, experiment.data.index.classes)
    if experiment.config.run.task in ("student", "evaluate"):
        raise ValueError(
            f"--task={experiment.config.run.task} needs a trained teacher, and {path} "
            "does not exist. Train one with --task=teacher or name one by --teacher."
        )
    if (features := experiment.config.data.features) is not None:
        raise ValueError(
            f"--features={features} has the predictions of a trained teacher, and "
            f"{path} does not exist. Name that teacher by --teacher=FILE."
        )
    return _train(experiment, path)


def check_teacher(experiment: Experiment, teacher: keras.Model) -> None:
    """Warns of a teacher that knows less than the most frequent class.

    On validation data if there is any, else on what it was trained on.

    Raises:
        ValueError: If the teacher is given and students cannot learn from it.
    """
    config, data = experiment.config, experiment.data
    if config.run.teacher is not None:
        student = networks.build_student(config, len(data.index.classes))
        networks.check_pair(config, student, teacher)
    pairs, where = data.labeled, "training clips"
    if data.choosing:
        pairs, where = data.choosing, "validation clips"
    pairs = pairs[:: -(-len(pairs) // _MAX_CHECKED)]
    score = experiment.evaluator.over(pairs).validation(teacher, FUTURE)
    top1 = score()["top1"]
    labels = np.array([pair.label for pair in pairs])
    counts = np.bincount(labels_of(data.labeled))
    guards.warn_of_teacher(top1, float(np.mean(labels == counts.argmax())), where)


def teacher_path(run: Run) -> pathlib.Path:
    """Returns where a run's teacher is, or is to be."""
    if run.teacher is None:
        return pathlib.Path(run.folder) / "teacher.keras"
    path = pathlib.Path(run.teacher)
    if not path.exists():
        raise ValueError(f"--teacher={path} does not exist; give a .keras file.")
    return path


def load_teacher(config: Config, classes: Sequence[str]) -> keras.Model:
    """Returns the teacher that exists; trains none."""
    if config.run.teacher is None and config.run.run_dir is None:
        raise ValueError("Name a trained teacher: --teacher=FILE, or its --run_dir.")
    path = teacher_path(config.run)
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Train the teacher first: python -m train.main "
            "--task=teacher with the same flags, or name one by --teacher."
        )
    return _load(path, config, classes)


def _train(experiment: Experiment, path: pathlib.Path) -> keras.Model:
    config = experiment.config
    is_video = config.data.dataset not in ("demo", "features")
    if is_video and networks.teacher_architecture(config).weights is None:
        guards.warn_of_few_clips(len(experiment.data.labeled))
    model = networks.build_teacher(config, len(experiment.data.index.classes))
    source = phases.Clips(experiment, model, experiment.data.labeled, fields=(FUTURE,))
    phases.train(
        experiment,
        "teacher",
        phases.supervised(config, source),
        source,
        config.training.teacher_steps,
        config.training.teacher_learning_rate,
    )
    results.save(experiment, model, path)
    return model


def _load(path: pathlib.Path, config: Config, classes: Sequence[str]) -> keras.Model:
    model = keras.saving.load_model(path, compile=False)
    if model.output.shape[-1] != len(classes):
        raise ValueError(
            f"The teacher {path} knows {model.output.shape[-1]} classes, the data set "
            f"has {len(classes)}: {', '.join(classes)}."
        )
    if spec_path(path).exists():
        known = load_spec(path).classes
        if known != tuple(classes):
            raise ValueError(
                f"The teacher {path} knows the classes {', '.join(known)}; the data "
                f"set has {', '.join(classes)}, in this order."
            )
    if config.run.teacher is not None:
        _refuse_other_clips(path, model, config.data)
    print(f"The teacher is loaded from {path}.", flush=True)
    shape = _clip_shape(model, config.data)
    networks.keep_right(model, shape)
    if config.run.teacher is None:
        return model
    # Somebody else's may end in a softmax; logits are averaged, fused and compared.
    return as_logits(model, shape)


def _refuse_other_clips(path: pathlib.Path, model: keras.Model, data: Data) -> None:
    """Raises if a teacher sees clips of another kind than those of the run."""
    clips = data_lib.clip_format(data)
    takes, given = clip_shape(model)[1:], clips.input_shape
    if any(a not in (None, b) for a, b in zip(takes, given, strict=True)):
        needed = "--num_frames, --image_size and --modality"
        if data.dataset == "features":
            needed = "--num_frames and kind of features"
        raise ValueError(
            f"The teacher {path} takes clips of (time, height, width, channels) "
            f"{takes}, and those of this run are {given}. Both need the same {needed}."
        )
    if not (isinstance(clips, ClipFormat) and spec_path(path).exists()):
        return
    known = load_spec(path).clip_format
    if isinstance(known, ClipFormat) and known.fit != clips.fit:
        raise ValueError(
            f"The teacher {path} was trained with --fit={known.fit}, and this run has "
            f"--fit={clips.fit}: people and things would have other proportions. Give "
            f"--fit={known.fit}."
        )


def _clip_shape(model: keras.Model, data: Data) -> tuple[int, ...]:
    """(time, height, width, channels): as the model fixes them, else of the run."""
    channels = MODALITIES[data.modality]
    run = (data.num_frames, data.image_size, data.image_size, channels)
    sizes = zip(clip_shape(model)[1:], run, strict=True)
    return tuple(own if given is None else given for given, own in sizes)
