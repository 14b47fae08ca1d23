"""An epoch of distillation with the teacher's targets kept, beside one without.

`python -m benchmarks.teacher_cache` distils I3D over generated recordings with two
views of each pair, through the parts that `train.main --views=2 --teacher_cache=memory`
is made of. It prints the median seconds that filling the cache takes, once in a run,
and those of an epoch without the cache and with it, and how often each asks the
teacher. All take turns; clips lie decoded in memory.
"""

import contextlib
import io
import pathlib
import tempfile

import tensorflow as tf
from absl import app, flags

import kd_keras
from benchmarks import turns
from kd_keras.data.scenes.write import write_scenes
from train import networks, teacher_cache
from train.batches import normalizer, training_batches
from train.experiment import open_experiment
from train.flags import config as config_lib

_VIDEOS = flags.DEFINE_integer("videos", 16, "Generated videos.", lower_bound=3)
_VIEWS = flags.DEFINE_integer("views", 2, "Views of each pair.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 4, "Pairs per step.", lower_bound=1)
_FRAMES = flags.DEFINE_integer("num_frames", 16, "Frames per clip.", lower_bound=9)
_SIZE = flags.DEFINE_integer("image_size", 112, "Side in pixels.", lower_bound=32)
_WIDTH = flags.DEFINE_float("width", 0.5, "Of the networks.", lower_bound=0.01)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed turns of each.", lower_bound=1)

_FILL, _WITHOUT, _WITH = "filling the cache", "epoch without", "epoch with"


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Got the arguments {argv[1:]}; only flags are expected.")
    with tempfile.TemporaryDirectory() as folder:
        experiment = _experiment(pathlib.Path(folder))
        pairs = experiment.data.for_students
        ways, calls = _ways(experiment, pairs)
        # What a run says of itself is no part of the table.
        with contextlib.redirect_stdout(io.StringIO()):
            seconds = turns.median_seconds(ways, _REPEATS.value)
    print(
        f"I3D, width {_WIDTH.value:g}, {len(pairs)} pairs of {_FRAMES.value} frames of "
        f"{_SIZE.value}, batches of {_BATCH.value}, {_VIEWS.value} views, "
        f"{_REPEATS.value} turns"
    )
    print(f"{'':20}{'s':>8}{'of without':>12}{'teacher calls':>15}")
    for name, median in seconds.items():
        ratio = median / seconds[_WITHOUT]
        print(f"{name:20}{median:8.2f}{ratio:12.2f}{calls[name]:15}")
    saved = seconds[_WITHOUT] - seconds[_WITH]
    if saved > 0:
        print(f"The cache has paid after {seconds[_FILL] / saved:.1f} epochs.")


class _Counted:
    """A `FrozenTeacher` that counts the calls of its graphs."""

    def __init__(self, teacher):
        self._teacher, self.calls = teacher, tf.Variable(0, trainable=False)

    def __call__(self, clips):
        self.calls.assign_add(1)
        return self._teacher(clips)


def _experiment(folder):
    annotations = write_scenes(folder / "scenes", num_videos=_VIDEOS.value)
    values = flags.FlagValues()
    config_lib.define_flags(values)
    values(
        [
            "train.main",
            f"--annotations={annotations}",
            f"--video_root={annotations.parent}",
            f"--run_dir={folder / 'run'}",
            "--lead_time_s=0.4",
            "--observed_s=1.33",
            "--future_s=1.33",
            "--nounlabeled_gaps",
            "--teacher_cache=memory",
            *(
                f"--{flag.name}={flag.value}"
                for flag in (_VIEWS, _BATCH, _FRAMES, _SIZE, _WIDTH)
            ),
        ]
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return open_experiment(config_lib.from_flags(values))


def _ways(experiment, pairs):
    """Functions without arguments by name, and how often each called the teacher."""
    distiller, teacher, loss = _distiller(experiment)
    # The cache asks the teacher whose calls are counted.
    teacher_cache.FrozenTeacher = lambda *_: distiller.teacher
    normalize = normalizer(experiment)
    calls, stored = {}, []
    steps = len(pairs) // _BATCH.value

    def fill():
        student = distiller.student
        cache = teacher_cache.TeacherCache(experiment, student, teacher, pairs, loss)
        stored[:] = [cache.batches_from(0).take(steps)]

    def epoch(streams):
        learn = tf.function(
            lambda batch: distiller.learn(normalize(batch)), autograph=False
        )

        def take():
            for batch in streams[0]:
                float(learn(batch)["loss"])

        return take

    def counted(name, way):
        def run():
            before = int(distiller.teacher.calls.numpy())
            way()
            calls[name] = int(distiller.teacher.calls.numpy()) - before

        return run

    ways = {
        _FILL: fill,
        _WITHOUT: epoch([training_batches(experiment, pairs).take(steps)]),
        _WITH: epoch(stored),
    }
    return {name: counted(name, way) for name, way in ways.items()}, calls


def _distiller(experiment):
    config = experiment.config
    teacher = networks.build_teacher(config, len(experiment.data.index.classes))
    student = networks.start_student(config, teacher)
    loss = kd_keras.AttentionalPoolingLoss(distance="huber")
    distiller = kd_keras.Distiller(
        student,
        teacher,
        feature_loss=loss,
        feature_weight=config.distillation.feature_weight,
        feature_layer=networks.student_feature_layers(config, student),
    )
    distiller.teacher = _Counted(distiller.teacher)
    distiller.compile("sgd")
    distiller.optimizer.build(distiller.trainable_variables)
    return distiller, teacher, loss


if __name__ == "__main__":
    app.run(main)
