"""What distillation adds to a training step, and what bfloat16 takes away.

`python -m benchmarks.training_step` prints the median time of a step of I3D: from
labels alone, as anybody would train it; with pseudo-labels and L_d where the teacher's
targets come with the batch; the same with the weight λ that follows the gradients;
where the teacher is asked; and each in mixed_bfloat16.
Where PyTorch is installed, the step with stored targets also as one would write it
there, in both layouts of memory. All take turns, so that other load hits them alike.
"""

import contextlib
import importlib.util

import keras
import tensorflow as tf
from absl import app, flags

import kd_keras
from benchmarks import step_process, turns
from kd_keras.distill.teacher import FrozenTeacher
from kd_keras.training.supervised import SupervisedTrainer

_BATCH = flags.DEFINE_integer("batch_size", 4, "Pairs per step.", lower_bound=2)
_FRAMES = flags.DEFINE_integer("num_frames", 16, "Frames per clip.", lower_bound=9)
_SIZE = flags.DEFINE_integer("image_size", 112, "Side in pixels.", lower_bound=32)
_WIDTH = flags.DEFINE_float("width", 1.0, "Of the networks.", lower_bound=0.01)
_LAYER = flags.DEFINE_string("feature_layer", "Mixed_5c", "Where L_d compares.")
_REPEATS = flags.DEFINE_integer("repeats", 7, "Timed turns of each.", lower_bound=1)
_TAKE = flags.DEFINE_multi_string(
    "take", [], "Take these steps instead, as standard input names them by number."
)

_CLASSES = 21


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    if _TAKE.value:
        steps = _steps()
        step_process.serve(*(steps[name] for name in _TAKE.value))
        return
    steps = {}
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        steps |= {f"{policy}, {name}": step for name, step in _steps().items()}
    with contextlib.ExitStack() as stack:
        if importlib.util.find_spec("torch") is None:
            print("PyTorch is not installed.")
        else:
            for layout in ((), ("--channels_last",)):
                name = " ".join(["PyTorch, targets stored", *layout])
                step = step_process.torch_step(_size(), *layout)
                steps[name] = stack.enter_context(step)
        seconds = turns.median_seconds(steps, _REPEATS.value)
    plain = seconds["float32, labels alone"]
    print(
        f"I3D, width {_WIDTH.value:g}, batch {_BATCH.value}, {_FRAMES.value} frames of "
        f"{_SIZE.value}, {_REPEATS.value} turns"
    )
    print(f"{'':40}{'ms':>8}{'of plain':>10}")
    for name, median in seconds.items():
        print(f"{name:40}{1e3 * median:8.0f}{median / plain:10.2f}", flush=True)


def _steps():
    """Functions without arguments by name; each waits for the end of its step."""
    teacher, batch = _network(), _batch()
    probabilities, features = FrozenTeacher(teacher, _LAYER.value)(batch["future"])
    stored = {name: batch[name] for name in ("observed", "label", "labeled")}
    stored |= {"teacher_probabilities": probabilities, "teacher_features": features}
    loss = kd_keras.AttentionalPoolingLoss(distance="huber")

    def distiller(teacher, feature_weight=1e-3):
        return kd_keras.Distiller(
            _network(),
            teacher,
            feature_loss=loss,
            feature_weight=feature_weight,
            feature_layer=_LAYER.value,
        )

    return {
        "labels alone": _step(SupervisedTrainer(_network(), "observed"), batch),
        "distilled, targets stored": _step(distiller(None), stored),
        "the same, λ from the gradients": _step(distiller(None, "auto"), stored),
        "distilled, teacher asked": _step(distiller(teacher), batch),
    }


def _size():
    """The flags that say how large a step is."""
    flags_of_size = (_BATCH, _FRAMES, _SIZE, _WIDTH, _LAYER)
    return [f"--{flag.name}={flag.value}" for flag in flags_of_size]


def _network():
    return kd_keras.I3D(
        num_classes=_CLASSES,
        num_frames=_FRAMES.value,
        image_size=_SIZE.value,
        width=_WIDTH.value,
    )


def _batch():
    shape = (_BATCH.value, _FRAMES.value, _SIZE.value, _SIZE.value, 3)
    clips = [
        tf.random.stateless_uniform(shape, (0, number), -1, 1) for number in (0, 1)
    ]
    return {
        "observed": clips[0],
        "future": clips[1],
        "label": tf.range(_BATCH.value) % _CLASSES,
        "labeled": tf.range(_BATCH.value) % 2 == 0,
    }


def _step(model, batch):
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    learn = tf.function(model.learn)
    return lambda: float(learn(batch)["loss"])


if __name__ == "__main__":
    app.run(main)
