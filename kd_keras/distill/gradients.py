"""Gradients under any tf.distribute strategy: the same however a batch is cut."""

import tensorflow as tf


def scaled(loss, optimizer):
    """Scales the mean loss of a replica so that the sum of gradients is the mean's."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return optimizer.scale_loss(loss / replicas)


def apply(tape, loss, weights, optimizer):
    """Takes a step down the gradient of a `scaled` loss."""
    found = tape.gradient(loss, weights)
    if _clips(optimizer):
        # Optimizers clip before they sum over replicas: they are to clip the sum.
        found = [None if g is None else _equal_share(g) for g in found]
    optimizer.apply(found, weights)


def clip_norm_of_a_replica(clip_norm):
    """Returns what an optimizer must clip to where a replica has its share."""
    return clip_norm / tf.distribute.get_strategy().num_replicas_in_sync


def norms(tape, terms, weights):
    """Returns the norm of each term's gradient over the whole batch, by name.

    Args:
        tape: A persistent tape that saw the terms.
        terms: Mean loss of a replica's part of the batch, by name.
        weights: What the gradients are taken of.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return {
        name: tf.linalg.global_norm(
            [
                _sum(tf.cast(g, tf.float32) / replicas)
                for g in tape.gradient(term, weights)
                if g is not None
            ]
        )
        for name, term in terms.items()
    }


def _clips(optimizer):
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return bool(optimizer.clipnorm or optimizer.global_clipnorm)


def _equal_share(gradient):
    return _sum(gradient) / tf.distribute.get_strategy().num_replicas_in_sync


def _sum(value):
    """The sum over replicas, which each of them gets."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(value))
