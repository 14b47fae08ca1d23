"""Exports a student for TF Serving.

python -m export.main --student=RUN_DIR/student.keras --output=MODELS/name
python -m export.main --student=RGB.keras,FLOW.keras --output=MODELS/name
"""

import dataclasses
import functools
import signal
import sys
from typing import TYPE_CHECKING

from absl import flags

from export import command, student_file
from export.format_files import FORMAT_FILES
from export.request import GROUPS, PATHS, Request, define_flags
from export.student_file import ExportSpec
from kd_keras.data import remote
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import ClipFormat

if TYPE_CHECKING:
    import keras

    from export.signatures import ServedStudent

FLAGS = flags.FLAGS

_STOPPED = "export: stopped by a signal. The version is there whole, or not at all."

# What the graph adds to the weights, generously.
_GRAPH_BYTES = 4_000_000


def run(request: Request) -> str:
    """Exports and checks; returns the path of the version.

    Raises:
        ValueError, OSError: If something given cannot be used; nothing is written.
        CheckFailedError: If the export differs from the student; nothing is kept.
    """
    # TensorFlow takes seconds to import, so flags are read first.
    from export import given_students, precision, saved_model, versions
    from kd_keras.models.outputs import gives_probabilities

    remote.require_file_system(request.output)
    versions.require_format(request.output, request.format)
    paths = given_students.paths_of(request.student)
    weights = request.weights_of(len(paths))
    request.check()

    def spec_of(path, model):
        return _spec(dataclasses.replace(request, student=path), model)

    served = given_students.load(paths, spec_of, weights, request.num_ranked)
    # Those that end in a sigmoid are refused here.
    end_in_softmax = [
        gives_probabilities(one.model, one.clip_shape) for one in served.streams
    ]
    size = sum(saved_model.size_in_bytes(one.model) for one in served.streams)
    versions.require_room(request.output, size + _GRAPH_BYTES)
    version = versions.free_number(request.output, request.version)
    print(
        f"Writing {request.output}/{version}: {size / 1e6:.1f} MB of weights and about "
        f"1-3 MB of graph; {len(served.spec.classes)} classes, "
        f"{' and '.join(_described(one.spec) for one in served.streams)}.",
        flush=True,
    )
    if len(paths) == 2:
        print("From frames alone it computes TV-L1 flow.")
    elif all(end_in_softmax):
        print("The student ends in probabilities, which are served as they are.")
    if request.format != "savedmodel":
        (student,) = served.streams
        return _export_network(request, student, version)
    change = None
    if request.precision == "bfloat16":
        served, change = precision.lowered(
            served, request.fold_batch_norm, request.student, request.allowed_drop
        )
    path = saved_model.export_served(
        served,
        request.output,
        version,
        paths,
        keep_versions=request.keep_versions,
        fold_batch_norm=request.fold_batch_norm,
        change=change,
    )
    if warning := versions.pattern_warning(path):
        print(warning)
    print(f"{path} gives the student's outputs in a TensorFlow session without Keras.")
    return path


def _described(spec: ExportSpec) -> str:
    clips = spec.clip_format
    if isinstance(clips, FeatureFormat):
        return f"clips of features, {clips.num_frames} time steps"
    kind = "clips of flow" if clips.modality == "flow" else "clips"
    side = clips.image_size
    return f"{kind} of {clips.num_frames} frames, {side} x {side} pixels"


def main(_) -> int:
    request = command.request(Request, FLAGS, PATHS)
    stopped = False

    def stop(*_):
        nonlocal stopped
        stopped = True
        sys.exit(_STOPPED)

    def run_until_stopped():
        try:
            return run(request)
        except Exception:
            # A library may turn the exit into an error of its own.
            if stopped:
                sys.exit(_STOPPED)
            raise

    # Ends in the order in which a failure does, so that nothing half-written stays.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return command.status_of("export", run_until_stopped)


def _export_network(request: Request, student: "ServedStudent", version: int) -> str:
    """Writes the network alone, for another runtime."""
    from export import formats, precision

    options = {"select_tf_ops": True} if request.select_tf_ops else {}
    if request.precision == "int8":
        options["lower"] = functools.partial(
            precision.quantize,
            student=student,
            source=request.student,
            max_drop=request.allowed_drop,
        )
    path = formats.export_and_check(
        student.model,
        request.output,
        student.spec,
        request.format,
        version,
        request.fold_batch_norm,
        source=request.student,
        **options,
    )
    print(f"{path}/{FORMAT_FILES[request.format]} gives the student's outputs.")
    return path


def _spec(request: Request, student: "keras.Model") -> ExportSpec:
    """The sidecar's values, or the model's own with --classes, then those of flags."""
    names = ("num_frames", "image_size", "fit")
    given = {name: getattr(request, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    classes = request.classes and student_file.read_classes(request.classes)
    if request.classes is None or student_file.spec_path(request.student).is_file():
        spec = student_file.load_spec(request.student)
        if given and isinstance(spec.clip_format, FeatureFormat):
            raise ValueError(
                f"--{next(iter(given))} is of a student of videos. {request.student} "
                "takes features, and its .json says of which shape."
            )
        clip_format = dataclasses.replace(spec.clip_format, **given)
        classes = spec.classes if classes is None else classes
        layer = request.feature_layer or spec.feature_layer
        return dataclasses.replace(
            spec, classes=classes, clip_format=clip_format, feature_layer=layer
        )
    _, num_frames, height, width, channels = student_file.clip_shape(student)
    image_size = height if height == width else None
    values = {"num_frames": num_frames, "image_size": image_size} | given
    if None in values.values():
        raise ValueError(
            f"{request.student} fixes no size of clips and has no .json beside it: "
            "give --num_frames and --image_size."
        )
    modality = "flow" if channels == 2 else "rgb"
    clip_format = ClipFormat(**values, modality=modality)
    return ExportSpec(classes, clip_format, feature_layer=request.feature_layer)


if __name__ == "__main__":
    define_flags()
    command.start(
        main,
        "python -m export.main",
        required={
            "student": "the file of a trained student, RUN_DIR/student.keras",
            "output": "the folder of the served model, such as MODELS/name",
        },
        groups=GROUPS,
    )
