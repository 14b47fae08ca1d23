"""The small step, at which the demo and first experiments run, by its kernels.

`python -m benchmarks.small_step` prints the median time of a distillation step with
stored targets, of I3D of width 0.25 with 8 pairs of 12 frames of 48 pixels: as the
project takes it, with a number for λ or with λ from the gradients, with oneDNN left
off, as TensorFlow does by itself on processors without instructions for neural
networks, and in PyTorch if that is installed. The first two share a process, as two
processes differ by more than they do. Each other one has its own. All take turns, and
in each an untimed step comes first. The step without oneDNN is timed once, at the end.
Beside each stands how many times the step's arithmetic would take at the rate of a
large matrix product.
"""

import contextlib
import importlib.util
import math

import keras
import tensorflow as tf
from absl import app, flags

import kd_keras
from benchmarks import step_process, turns

_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed turns of each.", lower_bound=1)

_STEP = "distilled, targets stored"
_AUTO_STEP = "the same, λ from the gradients"
_BATCH, _FRAMES, _SIDE, _WIDTH = 8, 12, 48, 0.25
_FLAGS = [
    f"--batch_size={_BATCH}",
    f"--num_frames={_FRAMES}",
    f"--image_size={_SIDE}",
    f"--width={_WIDTH}",
    "--feature_layer=Mixed_4f",
]


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        ways = {}
        ways["kd_keras"], ways["kd_keras, λ from the gradients"] = enter(
            step_process.keras_steps([_STEP, _AUTO_STEP], _FLAGS)
        )
        if importlib.util.find_spec("torch") is None:
            print("PyTorch is not installed.")
        else:
            ways["PyTorch"] = enter(step_process.torch_step(_FLAGS))
            ways["PyTorch, channels last"] = enter(
                step_process.torch_step(_FLAGS, "--channels_last")
            )
        ways["its arithmetic alone"] = _product()
        seconds = turns.median_seconds(ways, _REPEATS.value, untimed=1)
        (left_off,) = enter(
            step_process.keras_steps([_STEP], _FLAGS, TF_ENABLE_ONEDNN_OPTS="0")
        )
        seconds |= turns.median_seconds({"kd_keras, oneDNN left off": left_off}, 1)
    arithmetic = seconds["its arithmetic alone"]
    print(f"{'':40}{'ms':>8}{'of arithmetic':>16}")
    for name, median in seconds.items():
        print(f"{name:40}{1e3 * median:8.1f}{median / arithmetic:16.1f}", flush=True)


def _product():
    """A function that takes as many operations as the step, in one matrix product."""
    side = 2048
    rows = round(_operations() / (2 * side**2))
    left, right = tf.random.normal((rows, side)), tf.random.normal((side, side))
    return lambda: (left @ right).numpy()


def _operations():
    """Additions and multiplications of the convolutions of a step."""
    network = kd_keras.I3D(
        num_classes=2, num_frames=_FRAMES, image_size=_SIDE, width=_WIDTH
    )
    forward = [
        2 * math.prod(layer.kernel.shape[:-1]) * math.prod(layer.output.shape[1:])
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv3D)
    ]
    # Backwards each is as much for its kernel and for its input; the first has no use
    # for the latter.
    return _BATCH * (3 * sum(forward) - forward[0])


if __name__ == "__main__":
    app.run(main)
