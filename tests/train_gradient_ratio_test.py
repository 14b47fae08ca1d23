"""--feature_weight=auto across an interruption, and schedules of it in the loop."""

import keras
import numpy as np
import pytest

from tests import recorded_training, tiny_distillation, tiny_training
from train import batches, phases
from train.loop.loop import Phase
from train.run_directory import RunDirectory


class _Killed(Exception):
    pass


class _Stream(tiny_training.Stream):
    def _batches(self, number):
        for step in range(self._step, self._step + number):
            self._before(step)
            yield tiny_distillation.batch(step)


def _train(path, before=lambda step: None):
    """Trains; returns λ, the student's weights and the lines of metrics."""
    options = tiny_training.config(f"--run_dir={path}")
    model = tiny_distillation.distiller(
        keras.optimizers.AdamW(0.01), feature_weight="auto"
    )
    Phase(
        name="student_attention",
        model=model,
        batches_from=lambda step: _Stream(step, before),
        steps=12,
        pairs=tiny_training.PAIRS,
        training=options.training,
        directory=RunDirectory(options),
    ).run()
    weight = float(model.current_feature_weight())
    return weight, model.student.get_weights(), (path / "metrics.jsonl").read_text()


def test_it_goes_on_from_a_checkpoint(tmp_path):
    weight, weights, metrics = _train(tmp_path / "whole")

    def kill(step):
        if step == 7:
            raise _Killed

    with pytest.raises(_Killed):
        _train(tmp_path / "killed", kill)
    found = _train(tmp_path / "killed")
    assert found[0] == weight
    for one, other in zip(found[1], weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[2] == metrics
    assert '"feature_weight"' in metrics and '"feature_gradient_ratio"' in metrics


@pytest.mark.parametrize(
    ("schedule", "moves"),
    [("constant", False), ("linear_up", True), ("cosine_down", True)],
)
def test_the_loop_knows_whether_the_weight_moves(
    tmp_path, monkeypatch, schedule, moves
):
    made = []

    class Made:
        def __init__(self, **arguments):
            made.append(arguments)

        def run(self):
            pass

    monkeypatch.setattr(phases, "Phase", Made)
    monkeypatch.setattr(batches, "normalizer", lambda experiment: dict)
    run = recorded_training.Experiment(
        tmp_path, f"--feature_weight_schedule={schedule}"
    )
    run.interruption = None
    model = tiny_training.trainer(run.config, 5)
    source = phases.Clips(run, model.network, run.data.labeled)
    phases.train(run, "student_attention", model, source, 5, 0.1)
    assert [arguments["weight_moves"] for arguments in made] == [moves]
