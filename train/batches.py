"""The endless stream of a run's training batches, from any step on."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kd_keras.data.batches import from_clips, from_records
from kd_keras.data.batches.fields import FUTURE, OBSERVED
from kd_keras.data.batches.order import rows_of_worker
from kd_keras.data.batches.stream import Stream
from kd_keras.data.clips import views
from kd_keras.data.records.clips import RecordLoader
from kd_keras.data.segments import Pair
from train import data as data_lib
from train.experiment import Experiment
from train.flags.config import Config
from train.loop.distribution import Distribution

# Both clips of a pair.
CLIPS = (OBSERVED, FUTURE)


def training_batches(
    experiment: Experiment,
    pairs: Sequence[Pair],
    start_step: int = 0,
    fields: Sequence[str] = CLIPS,
) -> tf.data.Dataset:
    """Returns this worker's rows of the training batches from a step on.

    Their clips are uint8; what `normalizer` returns belongs into the training step.

    Args:
        experiment: The `Experiment`.
        pairs: What is shown.
        start_step: The step of the first batch.
        fields: Which clips of a pair a batch has.
    """
    config, data = experiment.config, experiment.data
    stream = stream_of(config, pairs, start_step)
    shared: dict[str, Any] = {
        "augmentation": data.augmentation,
        "same_augmentation": config.augmentation.same_augmentation,
        "fields": fields,
        "as_uint8": True,
    }
    distribution, service = experiment.distribution, config.data.data_service
    shared["shard"] = distribution.worker, distribution.num_workers
    if service is None or not isinstance(data.loader, RecordLoader):
        return from_clips.training_batches(stream, data.loader, **shared)
    return from_records.training_batches(
        stream, data.loader, data_service=service, **shared
    )


def stream_of(config: Config, pairs: Sequence[Pair], start_step: int) -> Stream:
    """Returns which pairs a run's training shows from a step on."""
    return Stream(
        pairs,
        batch_size=config.training.batch_size,
        seed=config.run.seed,
        start_step=start_step,
        views=config.augmentation.views,
        sampling=data_lib.sampling(config, pairs),
    )


def own_rows(batches: tf.data.Dataset, distribution: Distribution) -> tf.data.Dataset:
    """Returns this worker's rows of batches that all workers share."""
    worker, count = distribution.worker, distribution.num_workers
    if count == 1:
        return batches

    def own(values: tf.Tensor) -> tf.Tensor:
        rows = rows_of_worker(worker, count, values.shape[0])
        return values[rows.start : rows.stop]

    return batches.map(lambda batch: tf.nest.map_structure(own, batch))


def normalizer(experiment: Experiment) -> Callable[[dict], dict]:
    """Returns the function from a batch to the same with its clips as networks' input.

    Args:
        experiment: The `Experiment`.
    """
    flow_scale = experiment.data.loader.clip_format.flow_scale
    return functools.partial(views.normalize_batch, flow_scale=flow_scale)
