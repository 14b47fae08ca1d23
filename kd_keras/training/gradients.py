"""Gradients under any tf.distribute strategy: the same however a batch is cut."""

import tensorflow as tf


def scale_loss(loss, optimizer):
    """Scales the mean loss of a replica so that the sum of gradients is the mean's."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return optimizer.scale_loss(loss / replicas)


def apply(tape, loss, weights, optimizer, beside=()):
    """Takes a step down the gradient of a loss that `scale_loss` scaled.

    Args:
        tape: Saw the loss.
        loss: What `scale_loss` returned.
        weights: What the step changes.
        optimizer: Takes the step.
        beside: Tensors whose gradients the caller wants to know.
    Returns:
        The gradients of the mean loss of all replicas for `beside`, in float32.
    """
    known, found = tape.gradient(loss, (list(beside), list(weights)))
    scale = optimizer.scale_loss(tf.constant(1.0))
    known = [tf.cast(gradient, tf.float32) / scale for gradient in known]
    if _clips(optimizer):
        # Optimizers clip before they sum over replicas: they are to clip the sum.
        found = [None if g is None else _equal_share(g) for g in found]
    optimizer.apply(found, weights)
    return known


def norm_over_replicas(gradient):
    """Returns the norm of a gradient of which each replica has some rows."""
    return tf.sqrt(_sum(tf.reduce_sum(gradient**2)))


def clip_norm_of_a_replica(clip_norm):
    """Returns the norm that the optimizer of one replica must clip to."""
    return clip_norm / tf.distribute.get_strategy().num_replicas_in_sync


def norms(tape, terms, value):
    """Returns the norm of each term's gradient, over the whole batch, by name.

    Args:
        tape: A persistent tape that saw the terms.
        terms: Mean loss of a replica's part of the batch, by name.
        value: The tensor that the gradients are taken for. It has a row for each clip
            of the replica.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return {
        name: norm_over_replicas(
            tf.cast(tape.gradient(term, value), tf.float32) / replicas
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
