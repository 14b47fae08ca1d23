"""What a run leaves: its networks, its results, and the export of the best student."""

import json
import pathlib
import shutil
from typing import Any

import keras

from export.checking import CheckFailedError
from export.saved_model import export_and_check
from export.student_file import ExportSpec, load_spec, save_student
from export.versions import versions
from kd_keras.aside import written_aside
from train.experiment import Experiment
from train.flags import defaults as flag_defaults
from train.report import summary
from train.run_directory import RunDirectory
from train.written import write_json


class ExportFailedError(RuntimeError):
    """A finished run could not be exported; its results are written."""


def save(experiment: Experiment, network: keras.Model, path: pathlib.Path) -> None:
    """Saves a network, and the .json that says how to feed it."""
    if experiment.distribution.is_chief:
        path.parent.mkdir(exist_ok=True)
        save_student(network, path, _spec(experiment, network))
    experiment.distribution.barrier()


def _spec(experiment: Experiment, network: keras.Model) -> ExportSpec:
    data = experiment.config.data
    names = {layer.name for layer in network.layers}
    compared = experiment.config.distillation.feature_layer or ()
    in_network = [name for name in compared if name in names]
    in_seconds = data.observed_fraction is None
    return ExportSpec(
        classes=experiment.data.index.classes,
        clip_format=experiment.data.loader.clip_format,
        observed_s=data.observed_s if in_seconds else None,
        lead_time_s=data.lead_time_s if in_seconds else None,
        feature_layer=in_network[-1] if in_network else None,
        are_actions=flag_defaults.has_actions(data),
    )


def write(experiment: Experiment, results: dict[str, Any]) -> ExportFailedError | None:
    """Writes the results, then exports the best student.

    Returns:
        The `ExportFailedError` if the export failed, else None.
    """
    has_student = "best_student" in results
    of_another = False
    if has_student:
        of_another = _holds_another(experiment, results["best_student"])
        if of_another:
            # Until it is written; a run that ends in between goes on from here.
            results["export"] = None
        _keep_best(experiment, results["best_student"])
    summary.write(experiment, results)
    if not (has_student and experiment.config.run.export):
        return None
    try:
        results["export"] = _export(experiment.directory, anew=of_another)
    except Exception as error:
        failed = ExportFailedError(
            f"The run is finished, its results are in {experiment.directory}, and its "
            f"export failed: {_in_words(error)} Correct the cause and give the same "
            "command again, or export student.keras by python -m export.main."
        )
        failed.__cause__ = error
        return failed
    write_json(experiment.directory / "results.json", results)
    return None


def _holds_another(experiment: Experiment, method: str) -> bool:
    """Returns whether the folder holds the export of another student than this."""
    path = experiment.directory / "results.json"
    if not path.exists():
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    other = before.get("best_student", method) != method
    return other or before.get("export", "") is None


def _keep_best(experiment: Experiment, method: str) -> None:
    """Copies the best student to student.keras."""
    directory = experiment.directory
    for suffix in (".json", ".keras"):
        with written_aside(directory / f"student{suffix}") as aside:
            shutil.copy(directory / "students" / f"{method}{suffix}", aside)


def _export(directory: RunDirectory, anew: bool) -> str:
    """Exports student.keras below export/; returns the folder's name in the run.

    Args:
        directory: The `RunDirectory`.
        anew: Whether what is exported already is another student.
    """
    path, folder = directory / "student.keras", directory / "export"
    # TF Serving reads float32; a run that is reported again keeps its export.
    known = versions(folder)
    if known and not anew:
        return f"export/{known[-1]}"
    with directory.timed("export"):
        student = keras.saving.load_model(path, compile=False)
        version = export_and_check(student, folder, load_spec(path), source=path)
    return str(pathlib.Path(version).relative_to(directory.path))


def _in_words(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    kind = "" if isinstance(error, CheckFailedError) else f"{type(error).__name__}: "
    return f"{kind}{text}."
