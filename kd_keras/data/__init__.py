"""Annotations -> segments -> pairs -> tf.data."""
