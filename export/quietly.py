"""Imports TensorFlow without its greeting; a command imports this before all else."""

from kd_keras import console

console.import_tensorflow()
