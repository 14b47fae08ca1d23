"""The main job: train a teacher, distil students, evaluate both, export the best."""

from typing import Any

import keras
import tensorflow as tf

from kd_keras import console
from train import networks, results
from train.evaluate import evaluate
from train.experiment import Experiment, begin, open_experiment
from train.flags.config import Config
from train.loop import distribution as distribution_lib
from train.loop.interruption import Interruption
from train.remote_run import RemoteRun
from train.report import summary
from train.run_directory import exclusive_lock
from train.student import load_or_train_student, student_path
from train.teacher import check_teacher, load_or_train_teacher


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
            distribution.one_speaks(),
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
