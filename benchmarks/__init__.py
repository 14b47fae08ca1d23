"""Speed and memory, each beside what one would use instead."""

# Before a benchmark imports TensorFlow: it chooses the kernels that training needs.
import kd_keras  # noqa: F401
