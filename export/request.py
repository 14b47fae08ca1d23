"""What `python -m export.main` is asked for: its flags, and which go together."""

import dataclasses

from absl import flags

from export import command
from export.format_files import FORMAT_FILES
from kd_keras.data.clips.format import FITS

# The flags of paths.
PATHS = ("student", "output", "classes")

# Of flags that are not given, so that one that is given is known.
_TOP_K, _MAX_ACCURACY_DROP = 5, 0.01

# As help lists them.
GROUPS = {
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
}


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

    @property
    def num_ranked(self) -> int:
        """--top_k, or its default."""
        return _TOP_K if self.top_k is None else self.top_k

    @property
    def allowed_drop(self) -> float:
        """--max_accuracy_drop, or its default."""
        given = self.max_accuracy_drop
        return _MAX_ACCURACY_DROP if given is None else given

    def check(self) -> None:
        """Raises ValueError if flags contradict each other, or a package is missing."""
        # They import TensorFlow, which takes seconds; help does without.
        from export import formats, precision

        if self.precision != "float32":
            precision.require(self.precision, self.format)
        elif self.max_accuracy_drop is not None:
            raise ValueError("--max_accuracy_drop is for --precision=bfloat16 or int8.")
        if self.select_tf_ops and self.format != "litert":
            raise ValueError("--select_tf_ops is for --format=litert.")
        if self.format == "savedmodel":
            return
        formats.require(self.format)
        for name in ("top_k", "feature_layer", "keep_versions"):
            if getattr(self, name) is not None:
                raise ValueError(f"--{name} is for --format=savedmodel.")

    def weights_of(self, count: int) -> tuple[float, ...]:
        """Returns the weights of two students, and none of one.

        Raises:
            ValueError: If a flag is of another number of students.
        """
        if count == 1:
            if self.fuse_weights is not None:
                raise ValueError(
                    "--fuse_weights is of two students: --student=RGB.keras,FLOW.keras."
                )
            return ()
        if self.format != "savedmodel":
            raise ValueError(
                f"--format={self.format} takes one student. Leave it out: two are "
                "exported as a SavedModel."
            )
        if self.precision != "float32":
            raise ValueError(
                f"--precision={self.precision} takes one student: the accuracy of two "
                "together is not measured. Export two in float32."
            )
        for name in ("num_frames", "image_size", "fit", "feature_layer"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"--{name} is of one student. Each of two has a .json beside it, "
                    "which says this."
                )
        given = self.fuse_weights
        try:
            return (1.0, 1.0) if given is None else tuple(map(float, given))
        except ValueError:
            raise ValueError(
                f"--fuse_weights takes two numbers, as 1,1. Got {','.join(given)}."
            ) from None


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
    command.check_finite(["max_accuracy_drop"])
    command.check_paths(PATHS)
