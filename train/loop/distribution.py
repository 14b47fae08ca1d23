"""Where a run computes: on one device, on several of a host, or on several hosts.

Training is a loop of `Distribution.run`, as Keras's own `fit` fails with two workers.
Every replica takes an equal part of the global batch, so that the mean over replicas
is the mean over the batch.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator, MutableMapping
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kd_keras.training.fused_batch_norm import moving_statistics
from train.flags.config import Config

# By name, such as the fields of a batch or the terms of a loss.
Tensors: TypeAlias = dict[str, tf.Tensor]

# Ports of the workers that SLURM starts on a node count from here.
_SLURM_PORT = 12355


# What TensorFlow raises if a worker no longer responds.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class WorkerLostError(RuntimeError):
    """Another worker is gone."""


class Distribution:
    """A tf.distribute strategy, and what a run does with it.

    Args:
        strategy: The strategy; None computes on one device.
    Attributes:
        worker: Number of this process among those of the run.
        num_workers: Processes of the run.
        num_replicas: Parts that a batch is cut into.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None) -> None:
        self.strategy = tf.distribute.get_strategy() if strategy is None else strategy
        self.num_replicas = self.strategy.num_replicas_in_sync
        resolver = self.strategy.cluster_resolver
        cluster = {} if resolver is None else resolver.cluster_spec().as_dict()
        tasks = [
            (kind, number)
            for kind in ("chief", "worker")
            for number in range(len(cluster.get(kind, ())))
        ]
        self.num_workers = 1
        self.worker = 0
        if isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            self.num_workers = max(len(tasks), 1)
            if len(tasks) > 1:
                self.worker = tasks.index((resolver.task_type, resolver.task_id))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files; one does."""
        return self.worker == 0

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which networks are made."""
        return self.strategy.scope()

    @contextlib.contextmanager
    def one_speaks(self) -> Iterator[None]:
        """Context manager: of the workers of a run, the chief alone prints.

        Each prints warnings: what is broken may be what it alone read.
        """
        if self.is_chief:
            yield
            return
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            yield

    @contextlib.contextmanager
    def raise_on_lost_worker(self) -> Iterator[None]:
        """Context manager: raises `WorkerLostError` if another worker is gone."""
        try:
            yield
        except _LOST as error:
            if self.num_workers == 1:
                raise
            raise WorkerLostError(
                f"Another worker is gone ({str(error).splitlines()[0]}). Start all "
                "workers again with the same command: the run continues from its last "
                "checkpoint."
            ) from error

    def check_batch_size(self, batch_size: int) -> None:
        """Refuses batches that cannot be cut into equal parts."""
        if batch_size % self.num_replicas:
            raise ValueError(
                f"--batch_size={batch_size} is the batch of all replicas together and "
                f"must be a multiple of their number, {self.num_replicas}."
            )

    def split(self, batch: Tensors) -> Tensors:
        """Gives each replica of this process its rows of the process's batch."""
        if self.num_replicas == 1:
            return batch
        local = self.num_replicas // self.num_workers
        rows = len(tf.nest.flatten(batch)[0]) // local

        def rows_of(context: tf.distribute.experimental.ValueContext) -> Tensors:
            first = context.replica_id_in_sync_group % local * rows
            # Maps of several layers, or with their self-attention, are tuples.
            return tf.nest.map_structure(lambda v: v[first : first + rows], batch)

        return self.strategy.experimental_distribute_values_from_function(rows_of)

    def run(
        self, function: Callable[..., Tensors], *arguments: tf.Tensor | Tensors
    ) -> Tensors:
        """Calls a function on every replica; returns the mean of its results by name.

        To be called inside of a tf.function.
        """
        results = self.strategy.run(function, args=arguments)
        mean = tf.distribute.ReduceOp.MEAN
        return {
            name: self.strategy.reduce(mean, value, axis=None)
            for name, value in results.items()
        }

    def predict(
        self, function: Callable[[tf.Tensor], tf.Tensor], clips: tf.Tensor
    ) -> tf.Tensor:
        """Computes clips on the replicas of this process; results are in order."""
        local = self.num_replicas // self.num_workers
        if local == 1:
            return self.strategy.run(function, args=(clips,))
        number = len(clips)
        missing = -number % local
        clips = tf.concat([clips, tf.repeat(clips[-1:], missing, axis=0)], axis=0)
        split = self.split({"clips": clips})["clips"]
        results = self.strategy.run(function, args=(split,))
        return tf.concat(self.strategy.experimental_local_results(results), 0)[:number]

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Joins the rows that the workers have of a NumPy array, worker by worker.

        Every worker must give equally many.
        """
        if self.num_workers == 1:
            return values
        context = tf.distribute.get_replica_context

        @tf.function
        def joined(rows: tf.Tensor) -> tf.distribute.DistributedValues:
            return self.strategy.run(
                lambda: context().all_gather(tf.identity(rows), axis=0)
            )

        first = self.strategy.experimental_local_results(joined(values))[0].numpy()
        # Each replica of a worker holds the worker's rows.
        local = self.num_replicas // self.num_workers
        gathered = first.reshape(self.num_workers, local, *values.shape)
        return np.concatenate(gathered[:, 0])

    def barrier(self) -> None:
        """Waits until every worker is here."""
        self.gather(np.zeros([1], np.float32))

    def sync_batch_norm(self, model: keras.Model) -> Callable[[], object]:
        """Returns the function that gives BatchNorm's moving statistics their mean.

        Every replica moves its own; the function is called before they are used.
        """
        statistics = moving_statistics(model)
        if self.num_replicas == 1 or not statistics:
            return lambda: None

        def assign_means() -> None:
            context = tf.distribute.get_replica_context()
            # On this replica's device, which a value from outside has not.
            values = [tf.identity(variable.value) for variable in statistics]
            means = context.all_reduce(tf.distribute.ReduceOp.MEAN, values)
            for variable, mean in zip(statistics, means, strict=True):
                variable.assign(mean)

        return tf.function(lambda: self.strategy.run(assign_means), autograph=False)


def start(config: Config) -> Distribution:
    """Returns the `Distribution` that the flags describe.

    It must be called before anything else uses TensorFlow's devices.

    Args:
        config: The run's `Config`.
    Raises:
        ValueError: If the flags contradict each other or the cluster is not described.
    """
    run = config.run
    if run.distribution in ("mirrored", "tpu") and config.training.jit_compile == "on":
        raise ValueError(
            f"--jit_compile=on does not work with --distribution={run.distribution}; "
            "use auto or off."
        )
    if run.logical_devices > 1:
        devices = tf.config.list_physical_devices("CPU")[:1]
        tf.config.set_logical_device_configuration(
            devices[0], [tf.config.LogicalDeviceConfiguration()] * run.logical_devices
        )
    if run.distribution == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        return Distribution(tf.distribute.MirroredStrategy([d.name for d in devices]))
    if run.distribution == "multi_worker":
        describe_cluster(os.environ)
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        # TensorFlow's own handler took its place, and would only note the signal.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        return Distribution(strategy)
    if run.distribution == "tpu":
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return Distribution(tf.distribute.TPUStrategy(resolver))
    return Distribution()


def describe_cluster(environment: MutableMapping[str, str]) -> None:
    """Sets TF_CONFIG from SLURM's variables if it is not set."""
    if "TF_CONFIG" in environment:
        return
    if "SLURM_PROCID" not in environment:
        raise ValueError(
            "--distribution=multi_worker needs to know the workers: set TF_CONFIG to "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
            '"index": 0}} in each, or start them by SLURM\'s srun.'
        )
    # Any number of GPUs: the resolver counts ports by them.
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=_SLURM_PORT,
        gpus_per_node=1024,
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    cluster = resolver.cluster_spec().as_dict()
    kind, index = resolver.get_task_info()
    environment["TF_CONFIG"] = json.dumps(
        {"cluster": cluster, "task": {"type": kind, "index": index}}
    )
