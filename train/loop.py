"""Runs a model's train_step over a stream of batches, from where it stopped."""

import math
import sys

import keras
import tensorflow as tf


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


def train(model, batches_from, steps, *, run, phase, validate, validate_every):
    """Trains a compiled model for a number of steps.

    An interrupted call continues from the last validation when it is made again.

    Args:
        model: A compiled Keras model; its train_step takes a batch.
        batches_from: Function from a step to the stream of batches that begins there.
        steps: Total number of steps.
        run: The `RunDirectory` that keeps metrics and state.
        phase: Names what is trained, in files and messages.
        validate: Function without arguments that returns metrics by name.
        validate_every: Steps between validations; each ends with a checkpoint.
    Raises:
        DivergedError: If the loss is not finite; names the step and the terms.
    """
    model.optimizer.build(model.trainable_variables)
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    # The variables in a list: a Keras model as a whole would leave out the state of
    # its random numbers, and dropout would differ after an interruption.
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(
            step=step,
            model=[variable.value for variable in model.variables],
            optimizer=[variable.value for variable in model.optimizer.variables],
        ),
        str(run / "state" / phase),
        max_to_keep=2,
    )
    manager.restore_or_initialize()
    start = int(step)
    if start:
        print(f"{phase} continues at step {start} of {steps}", flush=True)
        run.forget_after(phase, start)
    train_step = tf.function(model.train_step, reduce_retracing=True)
    model.reset_metrics()
    bar = _progress_bar(phase, start, steps)
    for number, batch in enumerate(batches_from(start).take(steps - start), start + 1):
        terms = {name: float(value) for name, value in train_step(batch).items()}
        _stop_if_diverged(phase, number, terms)
        bar.update(number, list(terms.items()))
        if number % validate_every == 0 or number == steps:
            model.reset_metrics()
            validated = {f"val_{name}": value for name, value in validate().items()}
            bar.update(number, [*terms.items(), *validated.items()], finalize=False)
            run.log(phase, number, {**terms, **validated})
            step.assign(number)
            manager.save()


def _progress_bar(phase, start, steps):
    print(f"{phase}: {steps - start} steps", flush=True)
    # A log file gets a line now and then, a terminal a line that moves.
    interval = 0.5 if sys.stdout.isatty() else 20.0
    return _AllStateful(steps, interval=interval)


class _AllStateful(keras.utils.Progbar):
    """Shows values as they are: Keras metrics are averages already."""

    def update(self, current, values=None, finalize=None):
        self.stateful_metrics.update(name for name, _ in values or ())
        super().update(current, values, finalize=finalize)


def _stop_if_diverged(phase, step, terms):
    if not all(math.isfinite(value) for value in terms.values()):
        shown = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        raise DivergedError(
            f"{phase}: the loss is not a finite number at step {step}: {shown}. The "
            "last checkpoint is kept. Lower the learning rate or the feature weight."
        )
