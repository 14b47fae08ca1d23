"""Trains a model over a stream of batches, from where it stopped."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kd_keras.data.batches.fields import INDEX
from kd_keras.data.segments import Pair
from train.flags.learning import Training
from train.loop import climbing, guards
from train.loop.best_weights import BestWeights
from train.loop.checkpoints import Checkpoints
from train.loop.distribution import Distribution, Tensors
from train.loop.ema import WeightEMA
from train.loop.folder import PhaseFolder
from train.loop.interruption import Interrupted, Interruption
from train.loop.progress import Progress

# Steps before --profile begins to look: compilation is not to be seen.
_STEPS_BEFORE_PROFILE = 5

# What one worker requests of all of them: to stop, to save.
_REQUESTS = "requests"
# The terms of the loss, and the requests.
_Taken: TypeAlias = tuple[Tensors, list[tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Phase:
    """One training of a compiled model.

    What `run` does depends on these attributes alone: if it was ended at any moment, it
    goes on when it is called again, and leaves the same weights and metrics.

    Attributes:
        name: Names what is trained, in files and messages.
        model: A `Distiller` or `SupervisedTrainer`.
        batches_from: Function from a step to this worker's part of the batches that
            begin there, dicts with the field "index".
        steps: Total number of steps.
        pairs: What "index" counts, to name the clips of a bad batch.
        training: The run's `Training` flags.
        directory: Keeps metrics and state, as the `RunDirectory` does.
        normalize_batch: Function from such a batch to what the model learns from; it
            becomes a part of the step.
        validate: Function without arguments that returns metrics by name.
        weight_moves: As `guards.warn_of_gradients` takes it.
        distribution: The `Distribution` that the model was made in.
        interruption: The entered `Interruption` of the process.
    """

    name: str
    model: keras.Model
    batches_from: Callable[[int], tf.data.Dataset]
    steps: int
    pairs: Sequence[Pair]
    training: Training
    directory: PhaseFolder
    normalize_batch: Callable[[Tensors], Tensors] = dict
    validate: Callable[[], dict[str, float]] = dict
    weight_moves: bool = False
    distribution: Distribution = dataclasses.field(default_factory=Distribution)
    interruption: Interruption = dataclasses.field(default_factory=Interruption)

    def run(self) -> None:
        """Trains to the last step.

        Raises:
            DivergedError: If the loss is not finite or explodes; the last checkpoint is
                kept.
            CannotSaveError: If a disk is full; what was saved before is kept.
            Interrupted: After a signal; the state is saved.
        """
        self.model.optimizer.build(self.model.trainable_variables)
        state = _Training(self)
        with self.interruption.deferred():
            state.run()
            if self.interruption.signal is not None:
                self.interruption.stop(f"{self.name} is trained.")


class _Training:
    """A phase that runs, with all of its state."""

    def __init__(self, phase: Phase) -> None:
        self._phase, self._model = phase, phase.model
        model, training, distribution = phase.model, phase.training, phase.distribution
        self._ema = WeightEMA(model.trainable_variables, training.ema)
        self._best_weights = BestWeights(model, training)
        self._progress: Progress | None = None
        self._validated = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._first_loss = tf.Variable(np.nan, dtype=tf.float64, trainable=False)
        self._checkpoints = Checkpoints(
            phase.directory / "state" / phase.name,
            {
                "validated": self._validated,
                "first_loss": self._first_loss,
                # Named as checkpoints of older releases have them.
                "patience": self._best_weights.variables,
                "average": _values(self._ema.variables),
                # In a list: a Keras model as a whole would leave out the state of its
                # random numbers, and dropout would differ after an interruption.
                "model": _values([*model.variables, *model.metrics_variables]),
                "optimizer": _values(model.optimizer.variables),
            },
            keep=training.keep_checkpoints,
            writes=distribution.is_chief,
        )
        self._sync_batch_norm = distribution.sync_batch_norm(model)
        self._take_step = self._compiled_step()
        self._norms = tf.function(
            lambda batch: distribution.run(
                lambda rows: model.gradient_norms(phase.normalize_batch(rows)), batch
            ),
            autograph=False,
        )

    def run(self) -> None:
        """Trains to the end, and leaves the weights that --keep and --ema choose."""
        phase = self._phase
        self._model.reset_metrics()
        start = self._checkpoints.restore()
        if start:
            self._say(f"{phase.name} continues at step {start} of {phase.steps}")
        # A checkpoint may be older than the last line.
        phase.directory.forget_after(phase.name, int(self._validated.numpy()))
        try:
            self._train(start)
        except Interrupted:
            self._record_time()
            raise
        self._record_time()
        self._say_if_climbing()
        self._ema.apply()
        self._best_weights.restore_best(self._say)
        self._sync_batch_norm()

    def _train(self, start: int) -> None:
        phase, step = self._phase, start
        if int(self._validated.numpy()) < step and self._is_validation(step):
            # A signal came in the middle of it.
            batch = next(iter(phase.batches_from(step - 1)))
            self._end_window(step, phase.distribution.split(batch))
        if step >= phase.steps or self._best_weights.is_over(step):
            return
        shows = phase.distribution.is_chief
        progress = self._progress = Progress(phase.name, start, phase.steps, shows)
        profiled = phase.directory / "tensorboard" / phase.name
        profile = _Profile(phase.training.profile, profiled)
        batches = phase.batches_from(start).take(phase.steps - start)
        save_time = _Timer(phase.training.checkpoint_every_minutes)
        for batch in progress.timed(batches):
            profile.before(step - start)
            rows = phase.distribution.split(batch)
            requests = [phase.interruption.signal is not None, save_time.is_due()]
            terms, (stops, saves) = self._take_step(
                rows, np.array(requests, np.float32)
            )
            terms = {name: float(value) for name, value in terms.items()}
            step += 1
            self._guard(step, terms, batch)
            if progress.is_due() or step == phase.steps:
                progress.show(step, terms)
            if stops:
                self._save(step)
                phase.interruption.stop(
                    f"{phase.name} is saved at step {step} of {phase.steps}."
                )
            if self._is_validation(step):
                progress.end_window()
                self._end_window(step, rows)
                save_time.restart()
            elif saves or self._is_checkpoint(step):
                self._save(step)
                save_time.restart()
            if self._best_weights.is_over(step):
                self._say(f"{phase.name} stops early: {self._best_weights}")
                break
        profile.end()

    def _record_time(self) -> None:
        if self._progress is not None:
            self._phase.directory.record_time(
                self._phase.name, *self._progress.totals()
            )

    def _compiled_step(self) -> Callable[[Tensors, np.ndarray], _Taken]:
        ema, distribution = self._ema, self._phase.distribution
        normalize_batch, learn = self._phase.normalize_batch, self._model.learn
        if _uses_xla(self._phase.training.jit_compile, distribution):
            learn = tf.function(learn, jit_compile=True)

        def on_replica(batch: Tensors, requests: tf.Tensor) -> Tensors:
            terms = learn(normalize_batch(batch))
            ema.update()
            return {**terms, _REQUESTS: tf.identity(requests)}

        @tf.function(reduce_retracing=True, autograph=False)
        def step(batch: Tensors, requests: tf.Tensor) -> _Taken:
            results = distribution.run(on_replica, batch, requests)
            # All workers do what one of them requests.
            return results, tf.unstack(results.pop(_REQUESTS) > 0)

        return step

    def _guard(self, step: int, terms: Mapping[str, float], batch: Tensors) -> None:
        if np.isnan(self._first_loss.numpy()):
            self._first_loss.assign(terms["loss"])
        guards.stop_if_diverged(
            self._phase.name,
            step,
            terms,
            float(self._first_loss.numpy()),
            lambda: guards.describe(self._phase.pairs, batch[INDEX]),
        )

    def _end_window(self, step: int, batch: Tensors) -> None:
        """Validates, writes a line of metrics, and saves."""
        phase = self._phase
        self._sync_batch_norm()
        norms = {name: float(value) for name, value in self._norms(batch).items()}
        # Others wait for a worker that validates. It stops with them, after its step.
        is_alone = phase.distribution.num_workers == 1
        at_once = phase.interruption.at_once() if is_alone else contextlib.nullcontext()
        try:
            with self._ema.in_place(), at_once:
                validated = phase.validate()
        except Interrupted:
            self._save(step)
            raise
        line = {k: float(v) for k, v in self._model.get_metrics_result().items()}
        line |= {f"gradient_norm_{name}": value for name, value in norms.items()}
        line |= {f"val_{name}": value for name, value in validated.items()}
        phase.directory.log(phase.name, step, line)
        if phase.distribution.is_chief:
            guards.warn_of_gradients(phase.name, step, norms, phase.weight_moves)
            shown = " ".join(f"{name} {value:.4g}" for name, value in line.items())
            self._say(f"{phase.name} {step}: {shown}")
        self._model.reset_metrics()
        self._validated.assign(step)
        with self._ema.in_place():
            self._best_weights.update(step, validated)
        self._save(step)

    def _is_validation(self, step: int) -> bool:
        every = self._phase.training.validate_every
        return step % every == 0 or step == self._phase.steps

    def _is_checkpoint(self, step: int) -> bool:
        every = self._phase.training.checkpoint_every_steps
        return every is not None and step % every == 0

    def _save(self, step: int) -> None:
        self._sync_batch_norm()
        self._checkpoints.save(step)
        self._phase.directory.push()

    def _say_if_climbing(self) -> None:
        name = self._phase.name
        flag = "--teacher_steps" if name == "teacher" else "--student_steps"
        said = climbing.describe(name, self._phase.directory.history(name), flag)
        if said is not None:
            self._say(said)

    def _say(self, text: str) -> None:
        if self._phase.distribution.is_chief:
            print(text, flush=True)


class _Timer:
    """Knows when so many minutes have passed; None minutes never pass."""

    def __init__(self, minutes: float | None) -> None:
        self._minutes = minutes
        self.restart()

    def restart(self) -> None:
        self._begin_s = time.monotonic()

    def is_due(self) -> bool:
        if self._minutes is None:
            return False
        return time.monotonic() - self._begin_s >= 60 * self._minutes


class _Profile:
    """Writes a TensorBoard profile of some steps."""

    def __init__(self, steps: int, folder: pathlib.Path) -> None:
        self._steps, self._folder, self._runs = steps, str(folder), False

    def before(self, done: int) -> None:
        """Called before each step with the number of those done."""
        if self._steps and done == _STEPS_BEFORE_PROFILE:
            tf.profiler.experimental.start(self._folder)
            self._runs = True
        elif done == _STEPS_BEFORE_PROFILE + self._steps:
            self.end()

    def end(self) -> None:
        if self._runs:
            tf.profiler.experimental.stop()
            self._runs = False


def _uses_xla(jit_compile: str, distribution: Distribution) -> bool:
    if jit_compile == "auto":
        # On CPUs XLA's 3D convolutions are slow; MirroredStrategy fails under it.
        on_gpu = bool(tf.config.list_logical_devices("GPU"))
        return on_gpu and distribution.num_replicas == 1
    return jit_compile == "on"


def _values(variables: Iterable[keras.Variable]) -> list[tf.Variable]:
    """Returns the TensorFlow variables of Keras variables, each once."""
    unique = {id(variable): variable.value for variable in variables}
    return list(unique.values())
