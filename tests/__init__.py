"""Tests, one file for each module or behavior."""

# Before a test imports TensorFlow: it chooses the kernels that training needs.
import kd_keras  # noqa: F401
