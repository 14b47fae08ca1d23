"""The student file `student.keras` and the `student.json` that says how to feed it."""

import dataclasses
import io
import json
import math
import os
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from export.json_kinds import require_kinds
from kd_keras.aside import written_aside
from kd_keras.data.actions import Actions
from kd_keras.data.class_names import class_name
from kd_keras.data.clips.feature_format import FeatureFormat
from kd_keras.data.clips.format import ClipFormat
from kd_keras.data.csv_table import read_text

if TYPE_CHECKING:
    import keras

# What every file says; files of earlier releases lack some of the others.
_NEEDED = {
    ClipFormat: {"classes", "num_frames", "image_size"},
    FeatureFormat: {"classes", "num_frames", "height", "width", "channels"},
}
_FORMAT_EXAMPLES = {
    ClipFormat: ClipFormat().to_stored(),
    FeatureFormat: FeatureFormat(1, 1, 1, 1).to_stored(),
}
_OWN_EXAMPLES = {
    "classes": ["cut"],
    "observed_s": 1.0,
    "lead_time_s": 1.0,
    "feature_layer": "Mixed_5c",
    "are_actions": False,
    "every_frame": False,
}
_MAY_BE_NULL = {"observed_s", "lead_time_s", "feature_layer"}


@dataclasses.dataclass(frozen=True)
class ExportSpec:
    """What a student must be fed with, and what its outputs mean.

    Attributes:
        classes: Class names; the position is the index of the output.
        clip_format: The clips that it takes.
        observed_s: Length in seconds of the video that a clip was trained to cover;
            None if it differs from clip to clip (J-HMDB: a fraction of the video).
        lead_time_s: Seconds from the end of the clip to the start of the action that
            the student anticipates; None if it differs from clip to clip.
        feature_layer: The layer whose map was distilled; None leaves the choice to
            `default_feature_layer`.
        are_actions: Whether each class is a verb and a noun, such as `open door`.
        every_frame: Whether frames must be all that there are in `observed_s`, because
            their flow is computed. So it is if two students are exported together.
    Raises:
        ValueError: If a value cannot be.
    """

    classes: tuple[str, ...]
    clip_format: ClipFormat | FeatureFormat
    observed_s: float | None = None
    lead_time_s: float | None = None
    feature_layer: str | None = None
    are_actions: bool = False
    every_frame: bool = False

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        names = self.classes
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"classes must be names, at least one. Got {names!r}.")
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"Class names must differ. Repeated: {repeated}.")
        if self.observed_s is not None and not 0 < self.observed_s < math.inf:
            raise ValueError(
                f"observed_s must be > 0 and finite, or None. Got {self.observed_s}."
            )
        if self.lead_time_s is not None and not 0 <= self.lead_time_s < math.inf:
            raise ValueError(
                f"lead_time_s must be >= 0 and finite, or None. Got {self.lead_time_s}."
            )
        if self.are_actions:
            Actions(self.classes)  # Raises what is wrong with the names.


def save_student(
    model: "keras.Model", path: str | os.PathLike, spec: ExportSpec
) -> None:
    """Writes `path` (.keras) and, beside it, the same name with .json.

    Each file is written under another name first, so that neither is ever half there,
    and the .json comes first, so that no student file is without it.

    Raises:
        ValueError: If `path` does not end in .keras, or `spec` does not fit the model.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"A student file ends in .keras. Got {str(path)!r}.")
    check_fits(model, spec)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(spec_path(path)) as aside:
        aside.write_text(to_json(spec), "utf-8")
    with written_aside(path) as aside:
        model.save(aside)


def load_spec(path: str | os.PathLike) -> ExportSpec:
    """Reads the `ExportSpec` that lies beside the student file `path`.

    Raises:
        ValueError: If it is missing or is not one.
    """
    sidecar = spec_path(path)
    if not sidecar.is_file():
        raise ValueError(
            f"{sidecar} is missing: it names the classes of {os.fspath(path)}. Give "
            "--classes=FILE with one name a line, in the order of the outputs."
        )
    try:
        return from_json(read_text(sidecar, "the sidecar"))
    except ValueError as error:
        raise ValueError(f"{sidecar}: {error}") from error


def spec_path(path: str | os.PathLike) -> pathlib.Path:
    return pathlib.Path(path).with_suffix(".json")


def run_directory(student_file: str | os.PathLike) -> pathlib.Path | None:
    """The folder of the run, for student.keras or students/METHOD.keras; else None."""
    path = os.fspath(student_file)
    if "://" in path:
        return None
    for folder in list(pathlib.Path(path).absolute().parents)[:2]:
        if (folder / "results.json").is_file():
            return folder
    return None


def to_json(spec: ExportSpec) -> str:
    """One flat object: the clip format's values stand beside the others."""
    values = dataclasses.asdict(spec)
    del values["clip_format"]
    for name in ("are_actions", "every_frame"):
        if not values[name]:
            # Most files can be read by earlier releases.
            del values[name]
    values |= spec.clip_format.to_stored()
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> ExportSpec:
    """Returns the `ExportSpec` that `to_json` wrote; other keys are an error."""
    values = json.loads(text)
    is_features = isinstance(values, dict) and values.get("modality") == "features"
    kind = FeatureFormat if is_features else ClipFormat
    examples, needed = _OWN_EXAMPLES | _FORMAT_EXAMPLES[kind], _NEEDED[kind]
    known = set(examples)
    if not isinstance(values, dict) or not needed <= set(values) <= known:
        raise ValueError(
            f"Expected an object with {sorted(needed)} and perhaps "
            f"{sorted(known - needed)}. Got "
            f"{sorted(values) if isinstance(values, dict) else values!r}."
        )
    absent = {key for key in _MAY_BE_NULL & set(values) if values[key] is None}
    require_kinds({key: values[key] for key in set(values) - absent}, examples)
    clip_keys = set(_FORMAT_EXAMPLES[kind]) & set(values)
    clip_values = {key: values.pop(key) for key in clip_keys}
    try:
        return ExportSpec(clip_format=kind.from_stored(clip_values), **values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"A value is of the wrong kind: {error}.") from error


def read_classes(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads a text file with one class name a line, as the CSV reader reads labels.

    Blank lines are skipped; blanks around a name and a byte order mark do not count.

    Raises:
        ValueError: If there is no such file, or it is no UTF-8 text.
    """
    # Some names hold characters at which str.splitlines would break a line.
    lines = io.StringIO(read_text(path, "the list of classes"), newline=None)
    return tuple(name for line in lines if (name := class_name(line)))


def check_fits(model: "keras.Model", spec: ExportSpec) -> None:
    """Raises a ValueError unless the model maps such clips to logits of the classes."""
    fixed, given = clip_shape(model)[1:], clip_shape_of(model, spec)
    if any(a not in (None, b) for a, b in zip(fixed[:3], given[:3], strict=True)):
        raise ValueError(
            f"The model takes clips of (time, height, width) {fixed[:3]}; num_frames "
            f"and image_size would make {given[:3]}."
        )
    channels, modality = fixed[-1], spec.clip_format.modality
    if modality == "features":
        fits = channels == given[-1]
    else:
        fits = channels in (1, 2, 3) and (channels == 2) == (modality == "flow")
    if not fits:
        raise ValueError(
            f"The model takes clips of {channels} channels, which is not modality="
            f"{modality}: RGB has 3, or 1 if it is gray, and flow has 2. A model that "
            "starts from stored features must be joined with the layers before them."
        )
    names = [layer.name for layer in model.layers]
    if spec.feature_layer is not None and spec.feature_layer not in names:
        raise ValueError(
            f"feature_layer: the model has no layer {spec.feature_layer!r}. Choose one "
            f"of: {', '.join(names)}."
        )
    outputs = _shapes(model.output_shape)
    if outputs != [(None, len(spec.classes))]:
        raise ValueError(
            f"{len(spec.classes)} class names need logits (batch, "
            f"{len(spec.classes)}). The model gives {outputs}."
        )


def clip_shape(model: "keras.Model") -> tuple[int | None, ...]:
    """The model's (batch, time, height, width, channels); None where any size is taken.

    Raises:
        ValueError: If the model does not take one clip.
    """
    inputs = _shapes(model.input_shape)
    if len(inputs) != 1 or len(inputs[0]) != 5 or inputs[0][-1] is None:
        raise ValueError(
            "A student takes clips (batch, time, height, width, channels). Got a model "
            f"of {inputs}."
        )
    return inputs[0]


def clip_shape_of(model: "keras.Model", spec: ExportSpec) -> tuple[int, ...]:
    """(time, height, width, channels) of the clips that a spec gives a model."""
    clips = spec.clip_format
    if clips.modality == "features":
        return clips.input_shape
    # Pictures may be gray, which their format does not tell.
    return (*clips.input_shape[:3], clip_shape(model)[-1])


def _shapes(shape) -> list[tuple]:
    """One shape, or a list of them, as a list."""
    many = isinstance(shape, (list, dict))
    several: Iterable = shape.values() if isinstance(shape, dict) else shape
    return [tuple(one) for one in several] if many else [tuple(shape)]
