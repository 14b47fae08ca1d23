"""TV-L1 flow in TensorFlow operations beside OpenCV's.

`python -m benchmarks.flow` prints the median time of a flow of 128 pixels, one pair of
frames at a time and 16 at once, and how far the two are apart. All take turns.
"""

import cv2
import numpy as np
from absl import app, flags

from benchmarks import turns
from kd_keras.data.video.flow import flows_between

_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed turns of each.", lower_bound=1)

_PAIRS, _SIDE = 16, 128


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    befores, afters = _frames()
    ways = {
        f"{method}, {count} at once": _way(method, befores[:count], afters[:count])
        for method in ("tvl1", "tvl1_graph")
        for count in (1, _PAIRS)
    }
    for name, median in turns.median_seconds(ways, _REPEATS.value).items():
        count = int(name.split()[1])
        print(f"{name:24}{1e3 * median / count:8.1f} ms a pair", flush=True)
    one, other = (
        flows_between(befores, afters, method) for method in ("tvl1", "tvl1_graph")
    )
    print(f"Apart by {np.linalg.norm(one - other, axis=-1).mean():.4f} px on average.")


def _way(method, befores, afters):
    return lambda: flows_between(befores, afters, method)


def _frames():
    """Gray frames of a texture that moves, and the one after each."""
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (_SIDE, _SIDE + 3 * _PAIRS), np.uint8)
    wide = cv2.normalize(
        cv2.GaussianBlur(wide, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX
    )
    frames = [wide[:, 2 * n : 2 * n + _SIDE] for n in range(_PAIRS + 1)]
    return frames[:-1], frames[1:]


if __name__ == "__main__":
    app.run(main)
