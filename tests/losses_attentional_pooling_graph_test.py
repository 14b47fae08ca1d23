"""The feature loss in TensorFlow's graphs: compiled, of unknown sizes, in memory."""

import math
import pathlib
import re

import keras
import numpy as np
import pytest

from tests import gradients
from tests.attention_maps import DIRECTIONS, feature_maps, unreduced

if keras.backend.backend() != "tensorflow":
    pytest.skip("needs tf.function", allow_module_level=True)

import tensorflow as tf

# Maps of one token are softmaxes over one score.
pytestmark = pytest.mark.filterwarnings("ignore:You are using a softmax over axis")


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("chunk_size", [None, 3, 4])
def test_compiles_to_the_same_numbers(chunk_size, direction):
    teacher, student = feature_maps((2, 8, 6), (2, 7, 6))
    loss = unreduced(chunk_size=chunk_size, direction=direction)

    def value_and_gradient(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = loss(teacher, student)
        return value, tape.gradient(value, student)

    maps = tf.constant(teacher), tf.constant(student)
    huge_maps = [1e6 * x for x in maps]
    eager = value_and_gradient(*maps)
    for jit_compile in (False, True):
        compiled = tf.function(value_and_gradient, jit_compile=jit_compile)
        for one, other in zip(compiled(*maps), eager, strict=True):
            assert gradients.relative_error(one, other) < 2e-6
        assert all(np.isfinite(x).all() for x in compiled(*huge_maps))


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 8, 100])
@pytest.mark.parametrize(
    ("teacher_spec", "student_spec"),
    [
        ((None, None, 6), (None, None, 6)),
        ((None, 2, None, 6), (None, 7, 6)),
        ((2, 8, 6), (None, None, 6)),
        ((None, 8, 6), (None, 7, 6)),
    ],
)
def test_sizes_may_be_unknown_until_the_graph_runs(
    teacher_spec, student_spec, chunk_size
):
    batch = teacher_spec[0] or 2
    teacher, student = feature_maps((batch, 8, 6), (batch, 7, 6))
    loss = unreduced(chunk_size=chunk_size)

    @tf.function(
        input_signature=[tf.TensorSpec(teacher_spec), tf.TensorSpec(student_spec)]
    )
    def value_and_gradient(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = loss(teacher, student)
        return value, tape.gradient(value, student)

    if len(teacher_spec) == 4:
        teacher = teacher.reshape(batch, 2, 4, 6)
    value, gradient = value_and_gradient(teacher, student)
    want = gradients.value_and_gradient(lambda a: loss(teacher, a), student)
    np.testing.assert_allclose(value, want[0], rtol=1e-5)
    assert gradients.relative_error(gradient, want[1]) < 1e-5


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_compiled_loss_may_stand_in_a_graph_of_unknown_sizes(direction):
    # As the distiller has it: the backward pass is compiled apart.
    teacher, student = feature_maps((2, 8, 6), (2, 7, 6))
    loss = unreduced(direction=direction)
    compiled = tf.function(loss, jit_compile=True)

    @tf.function(input_signature=[tf.TensorSpec((None, None, 6))] * 2)
    def value_and_gradient(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = compiled(teacher, student)
        return value, tape.gradient(value, student)

    value, gradient = value_and_gradient(teacher, student)
    want = gradients.value_and_gradient(lambda a: loss(teacher, a), student)
    np.testing.assert_allclose(value, want[0], rtol=1e-5)
    assert gradients.relative_error(gradient, want[1]) < 1e-5


# More than fit into one block by themselves.
TOKENS = 8_300


def test_no_compiled_block_is_larger_than_documented():
    @tf.function(jit_compile=True)
    def gradient(teacher, student):
        return tf.gradients(unreduced()(teacher, student), student)

    maps = tf.TensorSpec((1, TOKENS, 8))
    program = gradient.experimental_get_compiler_ir(maps, maps)("optimized_hlo")
    shapes = re.findall(r"f32\[([\d,]+)\]", program)
    sizes = [math.prod(map(int, shape.split(","))) for shape in shapes]
    assert TOKENS * 8 < max(sizes) <= TOKENS * 512


def test_blocks_are_not_kept_for_the_backward_pass():
    try:
        reset_peak_memory()
    except OSError:
        pytest.skip("this system does not reset a process's peak memory")
    teacher, student = feature_maps((1, TOKENS, 4), (1, TOKENS, 4))
    loss = unreduced()
    loss(teacher[:, :8], student[:, :8])
    before = reset_peak_memory()
    gradients.value_and_gradient(lambda a: loss(teacher, a), student)
    one_matrix_of_scores = 4 * TOKENS**2
    assert peak_memory() - before < one_matrix_of_scores


def reset_peak_memory():
    """Forgets the process's peak and returns it, bytes; Linux only."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def peak_memory():
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])
