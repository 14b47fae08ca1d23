"""The main job: train a teacher, distil students, evaluate both, export the best."""

import pathlib
import shutil

import keras
import tensorflow as tf

from export.saved_model import export_and_check, versions
from export.student_file import ExportSpec, load_spec, save_student
from kd_keras.data import pipeline, record_pipeline
from kd_keras.data.segments import VAL
from train import data as data_lib
from train import networks, report
from train.evaluate import Evaluator, evaluate
from train.run_directory import RunDirectory, written_aside
from train.student import get_student
from train.teacher import get_teacher

# Both clips of a pair.
CLIPS = (pipeline.OBSERVED, pipeline.FUTURE)


def run_experiment(config):
    """Does what --task says; returns what it wrote to results.json."""
    experiment = Experiment(config)
    if config.run.task in ("all", "student"):
        networks.check(config, len(experiment.data.index.classes))
    report.show_inputs(experiment)
    teacher = get_teacher(experiment)
    students = {}
    if config.run.task != "teacher":
        for method in config.distillation.students:
            students[method] = get_student(experiment, method, teacher)
    results = evaluate(experiment, teacher, students)
    if students:
        experiment.keep_best(results["best_student"])
        if config.run.export:
            results["export"] = experiment.export()
    report.write(experiment, results)
    return results


class Experiment:
    """What the parts of a run share: its configuration, folder, data and evaluation."""

    def __init__(self, config):
        self.config = config
        if config.run.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.run.seed)
        keras.config.set_dtype_policy(config.run.dtype_policy)
        self.directory = RunDirectory(config)
        self.data = data_lib.load(config, self.directory)
        self.evaluator = Evaluator(
            self.data.evaluated, self.data.loader, config.training.batch_size
        )

    def batches(self, pairs, start_step=0, fields=CLIPS):
        """Returns the endless stream of training batches from a step on."""
        options = {
            "batch_size": self.config.training.batch_size,
            "seed": self.config.run.seed,
            "start_step": start_step,
            "views": self.config.augmentation.views,
            "augmentation": self.data.augmentation,
            "shared_draw": self.config.augmentation.shared_draw,
            "fields": fields,
        }
        address = self.config.data.data_service
        if address is None:
            return pipeline.pair_dataset(
                pairs, self.data.loader, training=True, **options
            )
        return record_pipeline.record_dataset(
            pairs, self.data.loader, data_service=address, **options
        )

    def validation(self, model, field):
        """Returns the function that scores a model in training.

        It gives nothing where the run is evaluated on the test part: what a person
        sees while training, she tunes on.
        """
        if self.data.eval_part != VAL:
            return dict
        return self.evaluator.validation(model, field)

    def save(self, model, path):
        """Saves a network and the .json that says how to feed it."""
        data, clips = self.config.data, self.data.loader.clip_format
        in_seconds = data.observed_fraction is None
        save_student(
            model,
            path,
            ExportSpec(
                classes=self.data.index.classes,
                num_frames=clips.num_frames,
                image_size=clips.image_size,
                fit=clips.fit,
                margin=clips.margin,
                short_clip=clips.short_clip,
                observed_s=data.observed_s if in_seconds else None,
                lead_time_s=data.lead_time_s if in_seconds else None,
            ),
        )

    def keep_best(self, method):
        """Copies the best student to student.keras."""
        for suffix in (".json", ".keras"):
            with written_aside(self.directory / f"student{suffix}") as aside:
                shutil.copy(self.directory / "students" / f"{method}{suffix}", aside)

    def export(self):
        """Exports student.keras below export/; returns the folder's name in the run."""
        path, folder = self.directory / "student.keras", self.directory / "export"
        # TF Serving reads float32; a run that is reported again keeps its export.
        known = versions(folder)
        if known:
            return f"export/{known[-1]}"
        student = keras.saving.load_model(path, compile=False)
        version = export_and_check(student, folder, load_spec(path))
        return str(pathlib.Path(version).relative_to(self.directory.path))
