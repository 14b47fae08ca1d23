"""The main job: train a teacher, distil students, evaluate both, export the best."""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from kd_keras import console
from kd_keras.training import half_precision
from train import data as data_lib
from train import data_set, networks, results, teacher_cache
from train.evaluate import evaluate
from train.evaluator import Evaluator, evaluator_of
from train.flags.config import Config
from train.loop import distribution as distribution_lib
from train.loop import guards
from train.loop.distribution import Distribution
from train.loop.interruption import Interruption
from train.remote_run import RemoteRun
from train.report import summary
from train.run_directory import RunDirectory, exclusive_lock
from train.student import load_or_train_student, student_path
from train.teacher import check_teacher, load_or_train_teacher


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What the parts of a run share.

    Attributes:
        config: The run's `Config`.
        distribution: The `Distribution` that it computes on.
        interruption: The `Interruption` of the process.
        directory: The `RunDirectory`.
        data: The `RunData`.
        data_set: What `data_set.describe` says of the data set today.
        evaluator: The `Evaluator` of the evaluated pairs.
    """

    config: Config
    distribution: Distribution
    interruption: Interruption
    directory: RunDirectory
    data: data_lib.RunData
    data_set: dict
    evaluator: Evaluator


def run_experiment(config: Config, store: RemoteRun | None = None) -> dict[str, Any]:
    """Does what --task says; returns what it wrote to results.json.

    Args:
        config: The run's `Config`.
        store: The `RemoteRun` whose working copy the run directory is, or None.
    """
    with Interruption() as interruption:
        with console.without_noise():
            distribution = distribution_lib.start(config)
            if config.run.distribution != "tpu":
                # XLA introduces itself when it compiles for the first time.
                tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(0.0))
        with (
            distribution.raise_on_lost_worker(),
            exclusive_lock(config, distribution.is_chief),
        ):
            experiment = open_experiment(config, distribution, interruption, store)
            with distribution.scope():
                teacher, students = _train(experiment)
                with experiment.directory.timed("evaluation"):
                    found = evaluate(experiment, teacher, students)
            problem = None
            if distribution.is_chief:
                problem = results.write(experiment, found)
            # The others end well, whatever becomes of the export.
            distribution.barrier()
            if problem is not None:
                raise problem
        return found


def open_experiment(
    config: Config,
    distribution: Distribution | None = None,
    interruption: Interruption | None = None,
    store: RemoteRun | None = None,
) -> Experiment:
    """Returns the `Experiment` of a run, with its folder and its data opened.

    Args:
        config: The run's `Config`.
        distribution: The `Distribution`; None computes on one device.
        interruption: The entered `Interruption` of the process, if there is one.
        store: The `RemoteRun` whose working copy the run directory is, or None.
    Raises:
        ValueError: If flags contradict each other, the data set has problems, or the
            folder holds a run of other flags or of another data set.
    """
    distribution = Distribution() if distribution is None else distribution
    if config.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.run.seed)
    half_precision.require_device(config.run.dtype_policy)
    keras.config.set_dtype_policy(config.run.dtype_policy)
    distribution.check_batch_size(config.training.batch_size)
    teacher_cache.check_flags(config)
    directory = RunDirectory(config, distribution.is_chief, store)
    data = _load_data(config, distribution, directory)
    described = data_set.describe(config.data, data.whole_index)
    if directory.holds_work():
        data_set.refuse_changes(directory.path, described, "a run")
    if distribution.is_chief:
        data_lib.write_lists(config.data, data, directory)
    return Experiment(
        config=config,
        distribution=distribution,
        interruption=Interruption() if interruption is None else interruption,
        directory=directory,
        data=data,
        data_set=described,
        evaluator=evaluator_of(config, data, distribution),
    )


def begin(experiment: Experiment) -> None:
    """Makes the folder this run's; what is in it must be of the same data set."""
    described = data_set.to_bytes(experiment.data_set)
    experiment.directory.begin({data_set.FILE: described})


def _load_data(
    config: Config, distribution: Distribution, directory: RunDirectory
) -> data_lib.RunData:
    # The one that writes may generate videos for all.
    if not distribution.is_chief:
        distribution.barrier()
    data = data_lib.load(config, directory)
    if distribution.is_chief:
        distribution.barrier()
    for members in (data.labeled, *data.scored.values()):
        guards.check_labels(members, len(data.index.classes))
    training = config.training
    if not data.choosing and (training.keep == "best" or training.early_stopping):
        raise ValueError(
            "--keep=best and --early_stopping choose by validation data, and this run "
            f"has only the {data.eval_part} part beside the training part, which must "
            "not choose anything. Give the data set a val part, hold videos out of "
            "training by --holdout=0.1, or use --keep=last."
        )
    return data


def _train(experiment: Experiment) -> tuple[keras.Model, dict[str, keras.Model]]:
    """Returns the teacher and the students by method, loaded or trained."""
    config = experiment.config
    if config.run.task in ("all", "student"):
        networks.check_networks(config, len(experiment.data.index.classes))
    begin(experiment)
    if experiment.distribution.is_chief:
        summary.show_inputs(experiment)
    teacher = load_or_train_teacher(experiment)
    methods = config.distillation.students
    if config.run.task in ("all", "student"):
        check_teacher(experiment, teacher)
    elif config.run.task == "teacher" and not _all_trained(experiment):
        methods = ()
    return teacher, {
        method: load_or_train_student(experiment, method, teacher) for method in methods
    }


def _all_trained(experiment: Experiment) -> bool:
    """Returns whether the folder holds every student, whose results it then keeps."""
    methods = experiment.config.distillation.students
    return all(student_path(experiment, method).exists() for method in methods)
