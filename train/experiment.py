"""The main job: train a teacher, distil students, evaluate both, export the best."""

import json
import pathlib
import shutil

import keras
import tensorflow as tf

from export.saved_model import CheckFailedError, export_and_check, versions
from export.student_file import ExportSpec, load_spec, save_student
from kd_keras import console
from kd_keras.data.batches import from_clips, from_records
from kd_keras.data.batches.fields import FUTURE, OBSERVED
from kd_keras.data.clips.views import normalize_batch
from kd_keras.training import half_precision
from train import data as data_lib
from train import data_set, networks, report, teacher_cache
from train.evaluate import Evaluator, evaluate
from train.loop import distribution as distribution_lib
from train.loop import guards, loop, optimization
from train.loop.distribution import Distribution
from train.loop.interruption import Interruption
from train.run_directory import RunDirectory, exclusive_lock, write_json, written_aside
from train.student import load_or_train_student
from train.teacher import check_teacher, load_or_train_teacher

# Both clips of a pair.
CLIPS = (OBSERVED, FUTURE)


class ExportFailedError(RuntimeError):
    """A finished run could not be exported; its results are written."""


def run_experiment(config, store=None):
    """Does what --task says; returns what it wrote to results.json.

    Args:
        config: The run's `Config`.
        store: The `RemoteRun` whose working copy the run directory is, or None.
    """
    with Interruption() as interruption:
        with console.without_noise():
            distribution = distribution_lib.start(config)
            if config.run.distribution != "tpu":
                # XLA introduces itself when it compiles for the first time.
                tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(0.0))
        with (
            distribution.raise_on_lost_worker(),
            exclusive_lock(config, distribution.is_chief),
        ):
            experiment = Experiment(config, distribution, interruption, store)
            with distribution.scope():
                teacher, students = _train(experiment)
                results = evaluate(experiment, teacher, students)
            problem = _write(experiment, results) if distribution.is_chief else None
            # The others end well, whatever becomes of the export.
            distribution.barrier()
            if problem is not None:
                raise problem
        return results


def _train(experiment):
    config, data = experiment.config, experiment.data
    if config.run.task in ("all", "student"):
        networks.check_networks(config, len(data.index.classes))
    experiment.begin()
    if experiment.distribution.is_chief:
        report.show_inputs(experiment)
    teacher = load_or_train_teacher(experiment)
    students = {}
    if config.run.task != "teacher":
        if config.run.task != "evaluate":
            check_teacher(experiment, teacher)
        for method in config.distillation.students:
            students[method] = load_or_train_student(experiment, method, teacher)
    return teacher, students


def _write(experiment, results):
    """Leaves the results, then the export; returns the error of the latter, or None."""
    has_student = "best_student" in results
    of_another = False
    if has_student:
        of_another = _holds_another(experiment, results["best_student"])
        if of_another:
            # Until it is written; a run that ends in between goes on from here.
            results["export"] = None
        experiment.keep_best(results["best_student"])
    report.write(experiment, results)
    if not (has_student and experiment.config.run.export):
        return None
    try:
        results["export"] = experiment.export(anew=of_another)
    except Exception as error:
        failed = ExportFailedError(
            f"The run is finished, its results are in {experiment.directory}, and its "
            f"export failed: {_in_words(error)} Mend that and give the same command "
            "again, or export student.keras by python -m export.main."
        )
        failed.__cause__ = error
        return failed
    write_json(experiment.directory / "results.json", results)
    return None


def _holds_another(experiment, method):
    """Returns whether the folder holds the export of another student than this."""
    path = experiment.directory / "results.json"
    if not path.exists():
        return False
    before = json.loads(path.read_text(encoding="utf-8"))
    other = before.get("best_student", method) != method
    return other or before.get("export", "") is None


def _in_words(error):
    text = str(error).strip().rstrip(".")
    kind = "" if isinstance(error, CheckFailedError) else f"{type(error).__name__}: "
    return f"{kind}{text}."


class Experiment:
    """What the parts of a run share: its configuration, folder, data and evaluation.

    Args:
        config: The run's `Config`.
        distribution: The `Distribution` that it computes on.
        interruption: The entered `Interruption` of the process.
        store: The `RemoteRun` whose working copy the run directory is, or None.
    """

    def __init__(self, config, distribution=None, interruption=None, store=None):
        self.config = config
        self.distribution = Distribution() if distribution is None else distribution
        self.interruption = Interruption() if interruption is None else interruption
        if config.run.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.run.seed)
        half_precision.require_device(config.run.dtype_policy)
        keras.config.set_dtype_policy(config.run.dtype_policy)
        self.distribution.check_batch_size(config.training.batch_size)
        teacher_cache.check_flags(config)
        self.directory = RunDirectory(config, self.distribution.is_chief, store)
        self.data = self._load_data()
        self._data_set = data_set.describe(config.data, self.data.whole_index)
        if self.directory.holds_work():
            data_set.refuse_changes(self.directory.path, self._data_set, "a run")
        if self.distribution.is_chief:
            data_lib.write_lists(config.data, self.data, self.directory)
        self.evaluator = Evaluator(
            self.data.evaluated,
            self.data.loader,
            config.training.batch_size,
            len(self.data.index.classes),
            self.distribution,
        )

    def begin(self):
        """Makes the folder this run's; what is in it must be of the same data set."""
        self.directory.begin({data_set.FILE: data_set.to_bytes(self._data_set)})

    def batches(self, pairs, start_step=0, fields=CLIPS):
        """Returns the endless stream of training batches from a step on.

        Their clips are uint8; `normalize_batch` belongs into the step.
        """
        options = {
            "batch_size": self.config.training.batch_size,
            "seed": self.config.run.seed,
            "start_step": start_step,
            "views": self.config.augmentation.views,
            "augmentation": self.data.augmentation,
            "same_augmentation": self.config.augmentation.same_augmentation,
            "fields": fields,
            "as_uint8": True,
        }
        address = self.config.data.data_service
        if address is None:
            return from_clips.pair_dataset(
                pairs,
                self.data.loader,
                training=True,
                sampling=data_lib.sampling(self.config, pairs),
                shard=(self.distribution.worker, self.distribution.num_workers),
                **options,
            )
        return self.own_rows(
            from_records.record_dataset(
                pairs, self.data.loader, data_service=address, **options
            )
        )

    def normalize_batch(self, batch):
        """Returns the batch with its clips as the networks see them."""
        return normalize_batch(batch, self.data.loader.clip_format.flow_scale)

    def own_rows(self, batches):
        """Returns this worker's part of global batches."""
        worker, count = self.distribution.worker, self.distribution.num_workers
        if count == 1:
            return batches
        return batches.map(
            lambda batch: tf.nest.map_structure(lambda v: v[worker::count], batch)
        )

    def train(
        self,
        model,
        batches_from,
        steps,
        learning_rate,
        *,
        network,
        phase,
        pairs,
        validate,
    ):
        """Trains a network inside of a model; the arguments are those of `loop.train`.

        Args:
            learning_rate: Highest rate.
            network: What of the model has a head and pretrained weights before it.
        """
        optimizer = optimization.optimizer(self.config, steps, learning_rate)
        options = self.config.training
        if options.pretrained_rate != 1:
            optimization.set_rates(
                optimizer, network, model.trainable_variables, options.pretrained_rate
            )
        model.compile(optimizer=optimizer)
        loop.train(
            model,
            batches_from,
            steps,
            normalize_batch=self.normalize_batch,
            options=options,
            run=self.directory,
            phase=phase,
            validate=validate,
            pairs=pairs,
            distribution=self.distribution,
            interruption=self.interruption,
        )

    def validation(self, model, field):
        """Returns the function that scores a model in training.

        It sees the pairs that choose, never those of the test part: what a person sees
        while training, she tunes on. It gives nothing if there are none.
        """
        if not self.data.choosing:
            return dict
        return self.evaluator.over(self.data.choosing).validation(model, field)

    def score(self, model, field, pairs):
        """Returns the scores of a model on some pairs."""
        return self.evaluator.over(pairs).validation(model, field)()

    def save(self, model, path):
        """Saves a network and the .json that says how to feed it."""
        if self.distribution.is_chief:
            self._save(model, path)
        self.distribution.barrier()

    def _save(self, model, path):
        path.parent.mkdir(exist_ok=True)
        data = self.config.data
        in_seconds = data.observed_fraction is None
        save_student(
            model,
            path,
            ExportSpec(
                classes=self.data.index.classes,
                clip_format=self.data.loader.clip_format,
                observed_s=data.observed_s if in_seconds else None,
                lead_time_s=data.lead_time_s if in_seconds else None,
            ),
        )

    def keep_best(self, method):
        """Copies the best student to student.keras."""
        for suffix in (".json", ".keras"):
            with written_aside(self.directory / f"student{suffix}") as aside:
                shutil.copy(self.directory / "students" / f"{method}{suffix}", aside)

    def export(self, anew=False):
        """Exports student.keras below export/; returns the folder's name in the run.

        Args:
            anew: What is exported already is another student.
        """
        path, folder = self.directory / "student.keras", self.directory / "export"
        # TF Serving reads float32; a run that is reported again keeps its export.
        known = versions(folder)
        if known and not anew:
            return f"export/{known[-1]}"
        student = keras.saving.load_model(path, compile=False)
        version = export_and_check(student, folder, load_spec(path))
        return str(pathlib.Path(version).relative_to(self.directory.path))

    def _load_data(self):
        # The one that writes may generate videos for all.
        if not self.distribution.is_chief:
            self.distribution.barrier()
        data = data_lib.load(self.config, self.directory)
        if self.distribution.is_chief:
            self.distribution.barrier()
        options, num_classes = self.config.training, len(data.index.classes)
        for members in (data.labeled, *data.scored.values()):
            guards.check_labels(members, num_classes)
        if not data.choosing and (options.keep == "best" or options.early_stopping):
            raise ValueError(
                "--keep=best and --early_stopping choose by validation data, and this "
                f"run has only the {data.eval_part} part beside the training part, "
                "which must not choose anything. Give the data set a val part, hold "
                "videos out of training by --holdout=0.1, or use --keep=last."
            )
        return data
