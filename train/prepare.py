"""Prepares the data of a run: its clips as records, or stored features.

python -m train.prepare --flagfile=RUN.flags --output=DIR
python -m train.prepare --flagfile=RUN.flags --kind=features --views=4 --output=DIR
python -m train.prepare --flagfile=RUN.flags --check --output=DIR
python -m train.prepare --flagfile=RUN.flags --scheduler=ADDRESS --output=DIR
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from export import command
from kd_keras import console
from train.flags import config as config_lib
from train.flags import fields as flag_fields
from train.flags.config import Config
from train.flags.preparation import Preparation

if TYPE_CHECKING:
    from kd_keras.data.records import shards

_FLAGFILE = "prepare.flags"
# Continues a folder, and writes again what differs in it.
_RERUN_COMMAND = (
    f"python -m train.prepare --flagfile={{folder}}/{_FLAGFILE} --output={{folder}} "
    "--verify"
)

config_lib.define_flags()
config_lib.define_flags(groups=(Preparation,))


@console.reader_may_leave()
def main(_: Sequence[str]) -> int:
    """Does what the flags say; returns the status that the process ends with."""
    from train import few_clips

    config = config_lib.from_flags()
    preparation = config_lib.read(Preparation)

    def work() -> None:
        # A run must have the network whose features are stored.
        of_networks = preparation.kind == "features" and not preparation.check
        prepare(few_clips.fitted(config) if of_networks else config, preparation)

    return command.status_of("Error", work, (ValueError, OSError))


def prepare(
    config: Config, preparation: Preparation
) -> "shards.Shards | dict[str, Any]":
    """Writes what the flags ask for; returns the reader of what was written.

    Args:
        config: The `Config` of the run that the data is for.
        preparation: The `Preparation`.
    Raises:
        ValueError, OSError: If something given cannot be used, the output holds other
            data, or the disk has too little room.
    """
    from kd_keras.data import exclusive, remote

    if config.data.dataset == "features" and (
        preparation.check or preparation.kind == "clips"
    ):
        raise ValueError(
            "--dataset=features has no videos to look at or to decode. Of its students "
            "--kind=features can be prepared."
        )
    remote.require_file_system(preparation.folder)
    # Before the videos are opened, which may take long.
    exclusive.require_free(preparation.folder)
    files = {_FLAGFILE: _flagfile(config, preparation).encode()}
    if preparation.scheduler is None:
        return _prepare_in_run(config, preparation, files)
    from kd_keras.data.records import cluster

    with cluster.Cluster(preparation.scheduler) as run_jobs:
        groups = {
            field.name: config_lib.with_absolute_paths(getattr(config, field.name))
            for field in dataclasses.fields(config)
        }
        return _prepare_in_run(
            Config(**groups),
            config_lib.with_absolute_paths(preparation),
            files,
            run_jobs=run_jobs,
        )


def _prepare_in_run(
    config: Config, *arguments: Any, **options: Any
) -> "shards.Shards | dict[str, Any]":
    """Prepares with a copy of the run's folder if that is remote."""
    from train import remote_run

    if not config.run.run_dir:
        return _prepare(config, *arguments, **options)
    with remote_run.fetched(config.run.run_dir) as (run_dir,):
        config = config_lib.with_run_dir(config, run_dir)
        return _prepare(config, *arguments, **options)


def _prepare(
    config: Config,
    preparation: Preparation,
    files: Mapping[str, bytes],
    **how: Any,
) -> "shards.Shards | dict[str, Any]":
    from kd_keras.data import exclusive
    from train import data as data_lib
    from train import prepare_clips, prepare_features

    # Generated videos and the teacher live in the run's folder, if there is one.
    directory = pathlib.Path(config.run.run_dir or preparation.folder)
    # Every clip is read once or twice: to keep it in memory would not pay.
    data_options = dataclasses.replace(config.data, cache="off")
    config = dataclasses.replace(config, data=data_options)
    data = data_lib.load(config, directory, refuse_problems=not preparation.check)
    if preparation.check:
        from train import check_data

        with exclusive.exclusive_lock(preparation.folder):
            return check_data.report(config, data, preparation.folder)
    work = {"clips": prepare_clips, "features": prepare_features}[preparation.kind]
    return work.write(
        config, preparation, data, rerun_command=_RERUN_COMMAND, files=files, **how
    )


def _flagfile(config: Config, preparation: Preparation) -> str:
    """What repeats the preparation, anywhere."""
    free = flag_fields.affecting(None, preparation)
    values = config_lib.as_flags(config) | dataclasses.asdict(preparation)
    return config_lib.flagfile_of({k: v for k, v in values.items() if k not in free})


def run() -> None:
    """Starts the command."""
    command.start(
        main,
        "python -m train.prepare",
        required={"output": "the folder of the prepared data, --output=DIR"},
        groups=("Preparation", *config_lib.GROUP_NAMES),
    )


if __name__ == "__main__":
    run()
