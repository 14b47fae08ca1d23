"""Speed and memory of the feature loss with its gradient, beside the naive ways.

`python -m benchmarks.feature_loss` prints for each size of map and each way the median
time, the rate at which the method's products were done, and the peak memory that the
first run adds. "float32 product" is what the machine does at best. All ways take turns
in one process, so that other load hits them alike. Memory is read on Linux only.
"""

import tensorflow as tf
from absl import app, flags

import kd_keras
from benchmarks import processes, turns

try:
    import torch
except ImportError:
    torch = None

_SHAPES = flags.DEFINE_list(
    "shapes",
    ["8x196x1024", "2x1568x480", "1x6272x192", "1x12544x192"],
    "Maps to compare: batch x tokens x channels.",
)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed turns of each way.", lower_bound=1)

_PRODUCT = "float32 product"
_PRODUCT_SIZE = 2048
_PRODUCT_FLOPS = 2 * _PRODUCT_SIZE**3
# Products of tokens x tokens x channels, forward and backward.
_PRODUCTS = 7 + 9
# Where the teacher's self-attention comes with its features.
_STORED = "ours, XLA, stored"
_PRODUCTS_OF_STORED = 14
# Matrices of scores, weights and their gradients that a naive way holds at once.
_NAIVE_MATRICES = 10
_NAIVE_LIMIT_BYTES = 2 * 2**30


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    for text in _SHAPES.value:
        shape = batch, tokens, channels = tuple(map(int, text.split("x")))
        flops_of_one = 2 * batch * tokens**2 * channels
        ways = _ways(*shape)
        seconds = turns.median_seconds({_PRODUCT: _product(), **ways}, _REPEATS.value)

        print(f"\n{batch} x {tokens} tokens x {channels} channels")
        print(f"{'':20}{'ms':>10}{'GFLOP/s':>10}{'MiB':>8}")
        _print_row(_PRODUCT, seconds[_PRODUCT], _PRODUCT_FLOPS, "")
        for name in ways:
            count = _PRODUCTS_OF_STORED if name == _STORED else _PRODUCTS
            memory = f"{_added_peak_mib(shape, name):.0f}"
            _print_row(name, seconds[name], count * flops_of_one, memory)


def _print_row(name, seconds, flops, memory):
    rate = 1e-9 * flops / seconds
    print(f"{name:20}{1e3 * seconds:10.1f}{rate:10.0f}{memory:>8}", flush=True)


def _ways(batch, tokens, channels):
    """Functions without arguments by name; each waits for its gradient."""
    teacher = tf.nn.relu(tf.random.stateless_normal((batch, tokens, channels), (0, 0)))
    student = tf.nn.relu(tf.random.stateless_normal((batch, tokens, channels), (0, 1)))
    loss = kd_keras.AttentionalPoolingLoss()
    ours = _with_gradient(loss)

    def run(function):
        return lambda: function(teacher, student).numpy()

    ways = {
        "ours, eager": run(ours),
        "ours, graph": run(tf.function(ours)),
        "ours, XLA": run(tf.function(ours, jit_compile=True)),
    }
    attended = loss.teacher_self_attention(teacher)
    stored = tf.function(
        lambda teacher, student: ours((teacher, attended), student), jit_compile=True
    )
    ways[_STORED] = run(stored)
    if _NAIVE_MATRICES * 4 * batch * tokens**2 <= _NAIVE_LIMIT_BYTES:
        naive = _with_gradient(_naive_tensorflow)
        ways["naive, graph"] = run(tf.function(naive))
        ways["naive, XLA"] = run(tf.function(naive, jit_compile=True))
        if torch is not None:
            maps = (torch.from_numpy(x.numpy()) for x in (teacher, student))
            ways["naive, PyTorch"] = _naive_pytorch(*maps)
    return ways


def _with_gradient(loss):
    def gradient(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = loss(teacher, student)
        return tape.gradient(value, student)

    return gradient


def _naive_tensorflow(teacher, student):
    """Eq. 3 as one would write it down."""

    def read(queries, values):
        scores = tf.matmul(queries, values, transpose_b=True)
        return tf.matmul(tf.nn.softmax(scores * values.shape[-1] ** -0.5), values)

    gaps = [read(q, teacher) - read(q, student) for q in (student, teacher)]
    return sum(tf.reduce_mean(tf.reduce_sum(tf.square(gap), -1)) for gap in gaps)


def _naive_pytorch(teacher, student):
    student.requires_grad_()

    def read(queries, values):
        scores = queries @ values.mT * values.shape[-1] ** -0.5
        return torch.softmax(scores, -1) @ values

    def run():
        gaps = [read(q, teacher) - read(q, student) for q in (student, teacher)]
        loss = sum(gap.square().sum(-1).mean() for gap in gaps)
        return torch.autograd.grad(loss, student)

    return run


def _product():
    matrix = tf.random.stateless_normal((_PRODUCT_SIZE, _PRODUCT_SIZE), (0, 2))
    product = tf.function(tf.matmul)
    return lambda: product(matrix, matrix).numpy()


def _added_peak_mib(shape, name):
    """Peak resident memory of the first run, in a process of its own.

    Memory that an allocator keeps would hide the need of every later run.
    """
    return processes.in_a_process(_peak_mib_of_first_run, shape, name)


def _peak_mib_of_first_run(shape, name):
    way = _ways(*shape)[name]
    _product()()
    before = processes.memory_bytes("VmHWM")
    way()
    return (processes.memory_bytes("VmHWM") - before) / 2**20


if __name__ == "__main__":
    app.run(main)
