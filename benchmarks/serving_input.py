"""Decoding and scaling in the exported graph beside simplejpeg and OpenCV.

`python -m benchmarks.serving_input` prints the median time in which a request of JPEGs
of 640 x 480 pixels becomes clips of 224 pixels, how many frames a second that is, and
by how many levels of 255 the two differ. The signature `encoded_frames` does it in the
graph. A client of one's own would do it with simplejpeg, OpenCV and a thread for each
core. All take turns.
"""

import concurrent.futures

import cv2
import numpy as np
import simplejpeg
import tensorflow as tf
from absl import app, flags

import kd_keras
from benchmarks import turns
from export.signatures import ServedStudent, encoded_frames
from export.student_file import ExportSpec
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.parallel import num_cores

_REPEATS = flags.DEFINE_integer("repeats", 15, "Timed turns of each.", lower_bound=1)

_FRAMES, _HEIGHT, _WIDTH = 16, 480, 640
_CLIP = ClipFormat(_FRAMES, 224)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    # One thread for each picture; the pool has the cores.
    cv2.setNumThreads(1)
    model = kd_keras.I3D(2, _FRAMES, _CLIP.image_size, width=0.03)
    student = ServedStudent(model, ExportSpec(("one", "two"), _CLIP))
    in_graph = tf.function(lambda files: encoded_frames.clips_of(student, files))
    print(f"{'':32}{'ms':>8}{'frames/s':>10}{'apart':>8}")
    with concurrent.futures.ThreadPoolExecutor(num_cores()) as pool:
        for batch in (1, 8):
            files = _requests(batch)
            tensor = tf.constant(files)
            ways = {
                "kd_keras, in the graph": lambda t=tensor: in_graph(t).numpy(),
                "simplejpeg and OpenCV": lambda f=files: _by_hand(pool, f),
            }
            first, second = (way() for way in ways.values())
            apart = np.abs(first - second).mean() * 127.5
            for name, seconds in turns.median_seconds(ways, _REPEATS.value, 1).items():
                rate = batch * _FRAMES / seconds
                title = f"{batch} clips, {name}"
                print(f"{title:32}{1e3 * seconds:8.1f}{rate:10.0f}{apart:8.2f}")


def _requests(batch):
    """JPEGs (batch, time) of soft noise, which compresses as pictures do."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (batch * _FRAMES, 30, 40, 3), np.uint8)
    files = [
        simplejpeg.encode_jpeg(
            cv2.resize(each, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC), 90
        )
        for each in coarse
    ]
    return np.array(files, object).reshape(batch, _FRAMES)


def _by_hand(pool, files):
    squares = pool.map(_square, files.ravel())
    clips = np.stack([*squares]).reshape(*files.shape, *[_CLIP.image_size] * 2, 3)
    return clips.astype(np.float32) / 127.5 - 1


def _square(file):
    picture = simplejpeg.decode_jpeg(file)
    height, width = _CLIP.resized(*picture.shape[:2])
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    side = _CLIP.image_size
    top, left = (height - side) // 2, (width - side) // 2
    return scaled[top : top + side, left : left + side]


if __name__ == "__main__":
    app.run(main)
