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
from export.student_file import ExportSpec
from kd_keras.data import remote
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import FITS, ClipFormat

if TYPE_CHECKING:
    import keras

    from export.signatures import ServedStudent

FLAGS = flags.FLAGS

# The flags of paths.
_PATHS = ("student", "output", "classes")

# Of flags that are not given, so that one that is given is known.
_TOP_K, _MAX_ACCURACY_DROP = 5, 0.01

_STOPPED = "export: stopped by a signal. The version is there whole, or not at all."

# What the graph adds to the weights, generously.
_GRAPH_BYTES = 4_000_000


@dataclasses.dataclass(frozen=True)
class Request:
    """What the flags ask for; the fields have their names and meanings."""

    student: str
    output: str
    version: int | None = None
    top_k: int | None = None
    classes: str | None = None
    num_frames: int | None = None
    image_size: int | None = None
    fit: str | None = None
    feature_layer: str | None = None
    keep_versions: int | None = None
    fuse_weights: tuple[str, ...] | None = None
    fold_batch_norm: bool = True
    format: str = "savedmodel"
    select_tf_ops: bool = False
    precision: str = "float32"
    max_accuracy_drop: float | None = None


def define_flags() -> None:
    """Defines the flags, one for every field of `Request`."""
    flags.DEFINE_string(
        "student",
        None,
        "Student file (.keras), with its .json beside it. RGB.keras,FLOW.keras exports "
        "two students, whose logits are added.",
    )
    flags.DEFINE_string(
        "output",
        None,
        "Folder of the served model; the export becomes <output>/<version>/.",
    )
    flags.DEFINE_integer(
        "version",
        None,
        "Number of the version; by default the one after the highest there is.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "top_k",
        None,
        f"Number of classes in the ranking, at most all; by default {_TOP_K}.",
        lower_bound=1,
    )
    flags.DEFINE_string(
        "classes",
        None,
        "Text file with one class name a line, in the order of the outputs; for a "
        "student without its .json, or other names.",
    )
    flags.DEFINE_integer(
        "num_frames",
        None,
        "Frames of a clip, for a student without its .json; by default as the model "
        "fixes them.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of a clip in pixels, for a student without its .json; by default as the "
        "model fixes it.",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "fit",
        None,
        FITS,
        "How frames become squares, for a student without its .json: crop (default) "
        "keeps proportions, stretch scales height and width apart.",
    )
    flags.DEFINE_string(
        "feature_layer",
        None,
        "Layer whose map the signature features gives; by default the distilled one.",
    )
    flags.DEFINE_integer(
        "keep_versions",
        None,
        "How many versions are left in the folder, the newest, the stable one and this "
        "one among them; by default all.",
        lower_bound=1,
    )
    flags.DEFINE_list(
        "fuse_weights",
        None,
        "What the logits of RGB.keras and FLOW.keras are multiplied by; by default "
        "1,1.",
    )
    flags.DEFINE_bool(
        "fold_batch_norm",
        True,
        "Make BatchNorm a part of the convolutions before it. The answers are the same "
        "up to rounding.",
    )
    flags.DEFINE_enum(
        "format",
        "savedmodel",
        [*FORMAT_FILES],
        "What is written: a SavedModel for TF Serving; or the network alone, from "
        "float32 clips to probabilities, for ONNX Runtime, OpenVINO or LiteRT.",
    )
    flags.DEFINE_bool(
        "select_tf_ops",
        False,
        "Keep operations that LiteRT lacks as TensorFlow's (Select TF ops): programs "
        "that run the file then need the Flex delegate.",
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["float32", "bfloat16", "int8"],
        "What a student of float32 computes in: bfloat16 is for --format=savedmodel, "
        "int8 for openvino. Both are measured on validation clips of the student's "
        "run.",
    )
    flags.DEFINE_float(
        "max_accuracy_drop",
        None,
        "By how much top-1 accuracy, a fraction, may drop in a lower --precision; "
        f"nothing is written if it drops by more. By default {_MAX_ACCURACY_DROP}.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    command.check_paths(_PATHS)


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
    weights = _fuse_weights(request, len(paths))
    _require_flags_of_format(request)

    def spec_of(path, model):
        return _spec(dataclasses.replace(request, student=path), model)

    top_k = _TOP_K if request.top_k is None else request.top_k
    served = given_students.load(paths, spec_of, weights, top_k)
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
            served, request.fold_batch_norm, request.student, _max_drop(request)
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


def _fuse_weights(request: Request, count: int) -> tuple[float, ...]:
    """The weights of two students; refuses flags that are of the other number."""
    if count == 1:
        if request.fuse_weights is not None:
            raise ValueError(
                "--fuse_weights is of two students: --student=RGB.keras,FLOW.keras."
            )
        return ()
    if request.format != "savedmodel":
        raise ValueError(
            f"--format={request.format} takes one student. Leave it out: two are "
            "exported as a SavedModel."
        )
    if request.precision != "float32":
        raise ValueError(
            f"--precision={request.precision} takes one student: the accuracy of two "
            "together is not measured. Export two in float32."
        )
    for name in ("num_frames", "image_size", "fit", "feature_layer"):
        if getattr(request, name) is not None:
            raise ValueError(
                f"--{name} is of one student. Each of two has a .json beside it, which "
                "says this."
            )
    given = request.fuse_weights
    try:
        return (1.0, 1.0) if given is None else tuple(map(float, given))
    except ValueError:
        raise ValueError(
            f"--fuse_weights takes two numbers, as 1,1. Got {','.join(given)}."
        ) from None


def _described(spec: ExportSpec) -> str:
    clips = spec.clip_format
    if isinstance(clips, FeatureFormat):
        return f"clips of features, {clips.num_frames} time steps"
    kind = "clips of flow" if clips.modality == "flow" else "clips"
    side = clips.image_size
    return f"{kind} of {clips.num_frames} frames, {side} x {side} pixels"


def main(_) -> int:
    request = command.request(Request, FLAGS, _PATHS)
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
            max_drop=_max_drop(request),
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


def _max_drop(request: Request) -> float:
    given = request.max_accuracy_drop
    return _MAX_ACCURACY_DROP if given is None else given


def _require_flags_of_format(request: Request) -> None:
    from export import formats, precision

    if request.precision != "float32":
        precision.require(request.precision, request.format)
    elif request.max_accuracy_drop is not None:
        raise ValueError("--max_accuracy_drop is for --precision=bfloat16 or int8.")
    if request.select_tf_ops and request.format != "litert":
        raise ValueError("--select_tf_ops is for --format=litert.")
    if request.format == "savedmodel":
        return
    formats.require(request.format)
    for name in ("top_k", "feature_layer", "keep_versions"):
        if getattr(request, name) is not None:
            raise ValueError(f"--{name} is for --format=savedmodel.")


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
        groups={
            "Export": (
                "student",
                "output",
                "version",
                "top_k",
                "fuse_weights",
                "feature_layer",
                "keep_versions",
                "fold_batch_norm",
                "format",
                "select_tf_ops",
                "precision",
                "max_accuracy_drop",
            ),
            "Student without its .json": ("classes", "num_frames", "image_size", "fit"),
        },
    )
