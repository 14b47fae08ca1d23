"""Batches for training and evaluation, as `tf.data.Dataset`s."""
