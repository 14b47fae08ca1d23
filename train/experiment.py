"""What the parts of a run share: its flags, its folder, its data, its devices."""

import dataclasses
import os

import keras
import tensorflow as tf

from kd_keras.data.records import shards
from kd_keras.training import half_precision
from train import data as data_lib
from train import data_set
from train.evaluator import Evaluator, evaluator_of
from train.flags import config as config_lib
from train.flags.config import Config
from train.loop import guards
from train.loop.distribution import Distribution
from train.loop.interruption import Interruption
from train.remote_run import RemoteRun
from train.run_directory import RunDirectory


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
            folder holds a run of other flags, another data set or other networks.
    """
    distribution = Distribution() if distribution is None else distribution
    if config.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.run.seed)
    half_precision.require_device(config.run.dtype_policy)
    keras.config.set_dtype_policy(config.run.dtype_policy)
    distribution.check_batch_size(config.training.batch_size)
    _check_teacher_cache(config)
    directory = RunDirectory(config, distribution.is_chief, store)
    data = _load_data(config, distribution, directory)
    described = data_set.describe(config.data, data.whole_index)
    described |= _networks_files(config)
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


def _networks_files(config: Config) -> dict[str, str]:
    """Returns the checksums of the files that networks come from, by flag."""
    values = config_lib.as_flags(config)
    # Of a checkpoint and a TF-Hub module, the index has a checksum of each variable.
    found = {
        name: f"{values[name]}{end}"
        for name in data_set.OF_NETWORKS
        for end in ("/variables/variables.index", ".index", "")
        if values[name] is not None and os.path.isfile(f"{values[name]}{end}")
    }
    return {name: shards.checksum(path) for name, path in found.items()}


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


def _check_teacher_cache(config: Config) -> None:
    """Raises ValueError if --teacher_cache would keep what no pass repeats."""
    augmentation = config.augmentation
    if config.distillation.teacher_cache == "off" or augmentation.views:
        return
    if any(dataclasses.astuple(data_lib.augmentation(augmentation))):
        raise ValueError(
            f"--teacher_cache={config.distillation.teacher_cache} keeps the teacher's "
            "targets of views that are shown again, but augmentation draws new views "
            "in each pass. Give --views (try 8), or turn augmentation off by --nocrop "
            "--flip=0."
        )
