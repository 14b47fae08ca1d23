"""A camera's step beside answering its whole window again.

`python -m benchmarks.streaming` prints the median time of an answer of I3D, of width 1
with clips of 16 frames of 112 pixels, for a window of 50 frames of 640 x 480 pixels:
by `step`, which is sent one frame, and by `serving_default`, which is sent all. The
network alone takes the time that neither can save. All take turns.
"""

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import turns
from benchmarks.served_i3d import served_i3d
from export.signatures import clip, frames, init_state, step

_REPEATS = flags.DEFINE_integer("repeats", 15, "Timed turns of each.", lower_bound=1)

_WINDOW, _HEIGHT, _WIDTH = 50, 480, 640


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    keras.utils.set_random_seed(0)
    student = served_i3d(num_frames=16, side=112)
    video = np.random.default_rng(0).integers(
        0, 256, (1, _WINDOW, _HEIGHT, _WIDTH, 3), np.uint8
    )
    state = init_state.serve(student, tf.constant([_WINDOW]))
    stepped = _answer(step, student, frame=tf.constant(video[:, -1]), **state)
    whole = _answer(frames, student, frames=tf.constant(video))
    alone = _answer(clip, student, clip=tf.zeros((1, *student.clip_shape)))
    ways = {"step": stepped, "the whole window": whole, "the network alone": alone}
    seconds = turns.median_seconds(ways, _REPEATS.value)
    print(f"{'':20}{'ms':>8}{'MB sent':>10}")
    sent = {"step": video[:, -1].nbytes + _state_bytes(state)}
    sent |= {"the whole window": video.nbytes}
    for name, median in seconds.items():
        megabytes = f"{sent[name] / 1e6:10.1f}" if name in sent else ""
        print(f"{name:20}{1e3 * median:8.1f}{megabytes}", flush=True)


def _answer(module, student, **inputs):
    function = tf.function(lambda **given: module.serve(student, **given))
    return lambda: function(**inputs)["probabilities"].numpy()


def _state_bytes(state):
    return sum(value.numpy().nbytes for value in state.values())


if __name__ == "__main__":
    app.run(main)
